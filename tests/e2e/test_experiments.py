"""Experiments of the paper's evaluation in their smallest form, and with load balancers broken on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from experiments.evaluation import catalog
from experiments.evaluation.parameters import Scale, read
from experiments.evaluation.sabotage import Sabotage
from topologies.services import wait_until

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 480  # injections bring up six testbeds, one after the other
MARK = "CATENARY_TEST_MARK"
MISSED_BY = {
    Sabotage.CROSSING: ("violations", "missed"),
    Sabotage.ONE_CHAIN: ("least_share",),
    Sabotage.DROPPING: ("lost",),
}
"""The promises that each way to break a load balancer breaks, before IDSes."""
STEADY = ("violations", "broken", "bypassed", "witness_dropped", "missed", "cut")
"""What holds in any run, however short it is and whatever else the machine does."""
QUIET = ("lost", "least_share")
"""What holds unless all else on the machine takes its time: in one of some tries."""
CONTROLS = ("warm-up", "snort-single")
"""Those that are held to that, too, for broken load balancers are told by it."""
TRIES = 3

SESSIONS = {"sessions", "catenary_sessions"}


def experiment(name: str, results: Path, *options: str) -> tuple[int, Mapping[str, Any]]:
    """Its exit status, and its summary."""
    module = f"experiments.{name.replace('-', '_')}.run"
    command = [sys.executable, "-m", module, "--quick", "--results", str(results), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (results / "summary.json").exists(), done.stdout + done.stderr
    return done.returncode, json.loads((results / "summary.json").read_text())


def holds(summary: Mapping[str, Any]) -> dict[str, bool]:
    return {key: asked["holds"] for key, asked in summary["asked"].items()}


@pytest.mark.parametrize("name", catalog.NAMES)
def test_each_runs_in_its_smallest_form(name: str, tmp_path: Path) -> None:
    status, summary = experiment(name, tmp_path)
    assert status in (0, 1), "it ran to its end; how fast it was is no question of so short a run"
    kept = holds(summary)
    steady = {f"{peer}{key}" for peer in ("", "catenary_") for key in STEADY}
    assert all(kept[key] for key in steady & kept.keys()), summary["figures"]
    assert any(summary["figures"][key]["value"] > 0 for key in SESSIONS & summary["figures"].keys())
    assert {"nginx", "httperf"} <= summary["environment"]["versions"].keys()
    assert list(tmp_path.glob("*.png"))
    tries = 1
    while name in CONTROLS and not all(holds(summary)[key] for key in QUIET):
        assert tries < TRIES, summary["figures"]
        _, summary = experiment(name, tmp_path)
        tries += 1
    assert {path.suffix for path in (tmp_path / "data").iterdir()} == {".csv", ".parquet"}


@pytest.mark.parametrize(
    ("name", "sabotage"),
    [
        *(("warm-up", sabotage) for sabotage in MISSED_BY),
        ("injections-throughput", Sabotage.CROSSING),  # one IDS
        ("injections-throughput", Sabotage.ONE_CHAIN),
    ],
)
def test_a_broken_load_balancer_makes_it_fail(name: str, sabotage: Sabotage, tmp_path: Path) -> None:
    status, summary = experiment(name, tmp_path, "--sabotage", str(sabotage))
    assert status == 1
    for key in MISSED_BY[sabotage]:
        assert summary["figures"][key]["value"] is not None
        assert not holds(summary)[key], summary["figures"][key]


@pytest.mark.parametrize("name", catalog.NAMES)
def test_each_is_held_to_what_a_broken_one_breaks(name: str) -> None:
    found = catalog.evaluation(name)
    shown = found.shown(read(found.folder / "parameters.toml", found.kind, Scale.QUICK))
    asked = {item.key for item in shown if item.claim is not None}
    for names in (("violations", "broken"), ("least_share",), ("lost",)):
        assert any(key.endswith(names) for key in asked), names


@pytest.mark.parametrize(
    ("number", "name", "until", "kept"),
    [
        (signal.SIGINT, "warm-up", "run 2 of 3", ("throughput_1", 1)),
        (signal.SIGTERM, "static-nfs", "  2: n1, n2", ("throughput_1", 0)),
    ],
)
def test_an_interrupted_run_cleans_up_and_keeps_what_it_measured(
    number: signal.Signals, name: str, until: str, kept: tuple[str, int], tmp_path: Path, unique: str
) -> None:
    """Ctrl-C, which the whole process group is told, in a later run; `kill` in a later part of the first."""
    command = [sys.executable, "-m", "experiments.evaluation.run", name, "--quick", "--set", "runs=3"]
    log = tmp_path / "log"
    with log.open("w") as output:
        run = subprocess.Popen(
            [*command, "--results", str(tmp_path)],
            cwd=ROOT,
            env=os.environ | {MARK: unique},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            wait_until(lambda: until in log.read_text(), f"no {until!r}", TIMEOUT_S)
            assert len(marked(unique)) > 3, "a testbed is up, or on its way"
            (os.killpg if number is signal.SIGINT else os.kill)(run.pid, number)
            assert run.wait(TIMEOUT_S) == 130, log.read_text()
            assert marked(unique) == []
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    told = log.read_text()
    assert "Traceback" not in told
    assert "interrupted: what was measured is in" in told
    figure, runs = kept
    summary = json.loads((tmp_path / name / "summary.json").read_text())
    assert (summary["status"], summary["ok"], summary["runs"]) == ("interrupted", False, runs)
    assert summary["figures"][figure]["value"] > 0
    assert (tmp_path / name / "throughput.png").exists()


def marked(mark: str) -> list[str]:
    """Command lines of processes, in whatever namespaces, that have the mark from who started them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found
