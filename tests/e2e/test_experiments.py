"""Experiments of the paper's evaluation in their smallest form, and with load balancers broken on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.evaluation import catalog
from experiments.evaluation.parameters import Scale, read
from experiments.evaluation.sabotage import Sabotage
from topologies.services import wait_until

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240
MISSED_BY = {Sabotage.CROSSING: "violations", Sabotage.ONE_CHAIN: "least_share", Sabotage.DROPPING: "lost"}
"""The promise that each way to break a load balancer breaks."""
STEADY = ("violations", "bypassed", "witness_dropped", "missed")
"""What holds in any run, however short it is and whatever else the machine does."""


def experiment(name: str, results: Path, *options: str) -> tuple[int, Mapping[str, Any]]:
    """Its exit status, and its summary."""
    module = f"experiments.{name.replace('-', '_')}.run"
    command = [sys.executable, "-m", module, "--quick", "--results", str(results), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (results / "summary.json").exists(), done.stdout + done.stderr
    return done.returncode, json.loads((results / "summary.json").read_text())


def holds(summary: Mapping[str, Any]) -> dict[str, bool]:
    return {key: asked["holds"] for key, asked in summary["asked"].items()}


@pytest.mark.parametrize(
    "name", ["warm-up", "snort-single", "injections", "chained-pairs", "baseline", "lb-alone"]
)
def test_each_machinery_runs(name: str, tmp_path: Path) -> None:
    status, summary = experiment(name, tmp_path)
    assert status in (0, 1), "it ran to its end; how fast it was is no question of so short a run"
    assert summary["parameters"].get("nf", "suricata") == "suricata"
    kept = holds(summary)
    assert all(kept[key] for key in STEADY if key in kept), summary["figures"]
    assert summary["figures"]["sessions"]["value"] > 0
    assert list(tmp_path.glob("*.png"))
    assert {path.suffix for path in (tmp_path / "data").iterdir()} == {".csv", ".parquet"}


@pytest.mark.parametrize(("sabotage", "key"), MISSED_BY.items())
def test_a_broken_load_balancer_makes_it_fail(sabotage: Sabotage, key: str, tmp_path: Path) -> None:
    status, summary = experiment("warm-up", tmp_path, "--sabotage", str(sabotage))
    assert status == 1
    assert not holds(summary)[key], summary["figures"][key]


@pytest.mark.parametrize("name", catalog.NAMES)
def test_each_is_held_to_what_a_broken_one_breaks(name: str) -> None:
    found = catalog.evaluation(name)
    shown = found.shown(read(found.folder / "parameters.toml", found.kind, Scale.QUICK))
    asked = {item.key for item in shown if item.claim is not None}
    for names in (("violations", "broken"), ("least_share",), ("lost",)):
        assert any(key.endswith(names) for key in asked), names


def test_an_interrupted_run_keeps_what_it_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.warm_up.run", "--quick", "--set", "runs=3"]
    log = tmp_path / "log"
    with log.open("w") as output:
        run = subprocess.Popen(
            [*command, "--results", str(tmp_path)],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            wait_until(lambda: "run 2 of 3" in log.read_text(), "the second run", TIMEOUT_S)
            run.send_signal(signal.SIGTERM)
            assert run.wait(TIMEOUT_S) == 130
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["status"], summary["ok"], summary["runs"]) == ("interrupted", False, 1)
    assert summary["figures"]["sessions"]["value"] > 0
