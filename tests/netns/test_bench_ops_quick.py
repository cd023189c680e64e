"""Parts of `make bench-ops` with tiny parameters: the machinery works, and the times are kept even so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from experiments.operations.growth import UNITS, short
from experiments.operations.plan import QUICK
from experiments.operations.run import OPERATIONS
from tests.isolation import isolated

TESTED = ("chain_failover", "synflood", "growth")
"""Those that take some seconds: test_failover.py tries `ms_failover`, test_autoscale.py `autoscale`."""


@pytest.mark.netns
@isolated
def test_parts_give_their_figures_and_write_them(tmp_path: Path) -> None:
    OPERATIONS.run(TESTED, QUICK, tmp_path, Console(quiet=True))
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["name"] == "operations"
    figures = {key: figure["value"] for key, figure in content["figures"].items()}
    grown = {f"growth_{short(size)}_{what}" for size in QUICK.sizes for what in UNITS}
    assert figures.keys() >= {claim.key for part in TESTED for claim in OPERATIONS.parts[part][1]} | grown
    assert figures.pop("synflood_live_sessions_lost") == 0
    assert all(value is not None and value > 0 for value in figures.values()), figures
