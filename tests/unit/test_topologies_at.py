"""`python -m topologies.at`, where there is no such testbed, or no such machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = os.readlink("/proc/self/ns/net")
NOT_UP = "no testbed is up: bring one up with `make testbed`, in another terminal"
UP = {"namespace": HERE, "init": os.getpid(), "hosts": {"h1": 35, "root": 3}}


@pytest.mark.parametrize(
    "place, text",
    [
        (None, NOT_UP),
        ({**UP, "namespace": "net:[1]"}, NOT_UP),  # it was killed, and its PID is another one's
        ({**UP, "init": 1 << 30}, NOT_UP),
        (UP, "no machine 'h9' here: there is h1, root"),
    ],
)
def test_it_says_what_is_not_there(tmp_path: Path, place: dict[str, object] | None, text: str) -> None:
    file = tmp_path / "testbed.json"
    if place is not None:
        file.write_text(json.dumps(place))
    argv = [sys.executable, "-m", "topologies.at", "h9", "true"]
    environment = {**os.environ, "CATENARY_TESTBED": str(file)}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"topologies.at: {text}\n")


def test_its_help_needs_no_testbed(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "topologies.at", "--help"]
    environment = {**os.environ, "CATENARY_TESTBED": str(tmp_path / "testbed.json")}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m topologies.at h1 " in done.stdout
