"""`make chaos` keeps its claims, as experiments/chaos/README.md has it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from experiments.chaos.field.schedule import FAULTS
from tests.docs.making import ROOT, last, make

STAGES = ("roomy", "crowded")


def verified(results: Path, stage: str) -> tuple[int, ...]:
    """What `catenary verify` counts of a stage: sessions, changes, faults, violations."""
    command = [sys.executable, "-m", "catenary.cli", "verify", str(results / f"{stage}.npz")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert not done.stderr, done.stderr
    headline = r"(\d+) sessions, (\d+) changes, (\d+) faults, (\d+) violations"
    found = re.match(headline, done.stdout.splitlines()[-1])
    assert found, done.stdout
    counts = tuple(map(int, found.groups()))
    assert min(counts[:3]) > 0
    return counts


def test_no_session_crosses_and_every_rule_matters(tmp_path: Path) -> None:
    status, output = make("make chaos", {"CHAOS_ARGS": f"--results {tmp_path}"}, timeout=3600)
    assert status == 0, last(output)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["name"], summary["ok"]) == ("chaos", True)
    figures = {key: figure["value"] for key, figure in summary["figures"].items()}
    assert figures["simulated_sessions"] >= 100_000
    assert figures["simulated_violations"] == 0 < figures["baseline_violations"]
    for key in ("violations", "packets_lost_on_daemon_kill", "packets_lost_on_upgrade", "cut_sessions"):
        assert figures[key] == 0, key
    assert figures["sessions"] >= 10_000
    assert figures["changes"] >= 50
    assert figures["faults"] >= 25
    assert figures["storm_changes_per_s"] >= 10
    assert figures["asks_unanswered"] >= 1
    assert figures["drains"] >= 3
    assert figures["drain_detect_s"] <= 1
    assert figures["live_across"] >= 50
    assert figures["server_first_across"] >= 10
    sessions, changes, faults, violations = map(
        sum, zip(*(verified(tmp_path, n) for n in STAGES), strict=True)
    )
    assert (sessions, changes, faults) == tuple(figures[key] for key in ("sessions", "changes", "faults"))
    excused = figures["rested_sessions"] + figures["orphaned"]
    assert violations <= excused, "more than what is counted apart"
    told = (tmp_path / "timeline.txt").read_text()
    assert Counter(re.findall(r"([a-z-]+): all are well again", told)) >= Counter(dict.fromkeys(FAULTS, 3))
    assert "CROSSED" not in told
