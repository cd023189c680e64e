"""`make chaos` keeps its claims, as experiments/chaos/README.md has it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.docs.making import make


def test_no_session_crosses_and_every_rule_matters(tmp_path: Path) -> None:
    status, output = make("make chaos", {"CHAOS_ARGS": f"--results {tmp_path}"}, timeout=3600)
    assert status == 0, output
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["name"], summary["ok"]) == ("chaos", True)
    figures = {key: figure["value"] for key, figure in summary["figures"].items()}
    assert figures["simulated_sessions"] >= 100_000
    assert figures["simulated_violations"] == 0 < figures["baseline_violations"]
    assert figures["violations"] == figures["packets_lost_on_daemon_kill"] == 0
    assert figures["sessions"] >= 10_000
    assert figures["changes"] >= 50
    assert figures["faults"] >= 25
    told = (tmp_path / "timeline.txt").read_text()
    assert "kill-master: all are well again" in told
    assert "CROSSED" not in told
