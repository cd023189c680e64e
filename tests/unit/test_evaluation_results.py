"""What is made of an experiment's results: pictures, references, and on what they were measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from catenary.errors import InvalidValue
from experiments.evaluation import catalog, export, keep, machine, redraw
from experiments.evaluation.experiment import Evaluation
from experiments.evaluation.parameters import Scale, plain, read
from experiments.evaluation.repeat import Once, Table, joined
from experiments.evaluation.sabotage import Sabotage

ROOT = Path(__file__).parents[2]
TIMES = np.arange(1.0, 12.0, 0.25)
RATES: Table = {"time_s": TIMES, "chain-n1": TIMES, "chain-n2": TIMES / 2}
COUNTS = {key: np.array([3, 4]) for key in ("n1", "n2", "n3")}
EXPORTED: Mapping[str, Mapping[str, Table]] = {
    "baseline": {
        "throughput": {
            "plane": np.array(["bridge", "ebpf"]),
            "mbit": np.array([100.0, 99.0]),
            "paper_mbit": np.array([900.0, np.nan]),
        }
    },
    "lb-alone": {
        "sessions": {"chains": np.array([1, 2]), "catenary": TIMES[:2], "algorithm1": TIMES[:2]},
        "throughput": {"sessions": np.array([1, 8]), "catenary": TIMES[:2], "algorithm1": TIMES[:2]},
    },
    "static-nfs": {"throughput_1": RATES, "throughput_3": RATES},
    "injections": {"alerts": {"batch": np.array([60, 60]), "every_s": np.array([0.5, 1.0]), **COUNTS}},
    "warm-up": {
        "throughput": RATES,
        "steps": {"at_s": np.array([0.0, 3.5, 7.0]), "nfs": np.array(["n1", "n1 n2", "n1"])},
    },
}
"""Tables of a run, as small as they may be, for each kind of picture; peers has a test of its own."""


@pytest.mark.parametrize("name", EXPORTED)
def test_pictures_are_drawn_from_what_is_exported_and_again_the_same(name: str, tmp_path: Path) -> None:
    item = catalog.evaluation(name)
    chosen = read(item.folder / "parameters.toml", item.kind, Scale.QUICK)
    once = Once({"sessions": 1}, EXPORTED[name])
    console = Console(file=(tmp_path / "told").open("w"))
    replace(item, once=lambda _: iter([once])).run(chosen, tmp_path, Sabotage.NONE, console)
    first = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert first
    for path in first:
        path.unlink()
    assert {path: path.read_bytes() for path in redraw.pictures(name, tmp_path)} == first


def test_pictures_are_redrawn_by_a_command(tmp_path: Path) -> None:
    def plot(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "experiments.warm_up.plot", str(folder)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    done = plot(tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"warm-up: no {tmp_path}/summary.json: run `make experiment NAME=warm-up` first, "
        "or name another folder\n"
    )
    reference(tmp_path)
    export.write(tmp_path / "data", joined([Once({}, EXPORTED["warm-up"])]))
    done = plot(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"drawn: {tmp_path}/throughput.png\n")
    with pytest.raises(InvalidValue, match="is of warm-up, not of swap: name another folder"):
        redraw.pictures("swap", tmp_path)


def reference(folder: Path, **more: Any) -> None:
    """A summary of warm-up that may be kept, but for `more`."""
    item = catalog.evaluation("warm-up")
    meant = plain(read(item.folder / "parameters.toml", item.kind, Scale.DEFAULT))
    content = {"name": "warm-up", "status": "ok", "sabotage": "none", "parameters": meant, **more}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(content))


def test_only_what_a_plain_run_showed_is_kept_as_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evaluation, "folder", tmp_path / "warm_up")
    shutil.copytree(ROOT / "experiments" / "warm_up", tmp_path / "warm_up")
    item, results, kept = (
        catalog.evaluation("warm-up"),
        tmp_path / "results",
        tmp_path / "warm_up" / "reference",
    )
    kept.mkdir(exist_ok=True)
    (kept / "old.png").touch()
    assert keep.keep(item, results) == [f"there is no {results}/summary.json"]
    meant = plain(read(item.folder / "parameters.toml", item.kind, Scale.DEFAULT))
    for wrong, said in (
        ({"status": "noisy"}, "it ended as 'noisy'"),
        ({"sabotage": "crossing"}, "its load balancers were broken on purpose (crossing)"),
        ({"parameters": {**meant, "runs": 1}}, "parameter runs was 1, and is 3 in parameters.toml"),
    ):
        reference(results, **wrong)
        assert keep.keep(item, results) == [said]
        assert (kept / "old.png").exists()
    assert keep.keep(item, results, force=True) == []
    reference(results)
    (results / "throughput.png").write_bytes(b"picture")
    (results / "data").mkdir()
    assert keep.keep(item, results) == []
    assert sorted(path.name for path in kept.iterdir()) == ["summary.json", "throughput.png"]


def test_a_run_tells_of_the_versions_of_its_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in {
        "nginx": "echo 'nginx version: nginx/1.22.1' >&2",
        "suricata": "echo 'This is Suricata version 7.0.10 RELEASE'",
        "curl": "exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = ["root", "nginx", "suricata-drop", "curl", "zeek", "rate"]
    assert machine.versions(asked) == {"nginx": "1.22.1", "suricata": "7.0.10"}


def test_offloads_have_their_short_names() -> None:
    told = """\
Features for h1-eth0:
rx-checksumming: on
tx-checksumming: on
\ttx-checksum-ip-generic: on
tcp-segmentation-offload: off
generic-segmentation-offload: on [requested on]
generic-receive-offload: off
tx-vlan-offload: on [fixed]
rx-vlan-offload: off [fixed]
"""
    assert machine.active(told) == "gso tx rx txvlan"
    assert machine.active("") == ""
