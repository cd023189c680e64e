"""Parts of `make bench-mgmt` with tiny parameters: the machinery works, whatever the numbers are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from experiments.management.plan import QUICK
from experiments.management.run import MANAGEMENT
from tests.isolation import isolated

TESTED = ("scale", "explained")
"""Those that take some seconds; `compared` is tested as tests/e2e/test_explain.py."""


@pytest.mark.netns
@isolated
def test_parts_give_their_figures_and_write_them(tmp_path: Path) -> None:
    MANAGEMENT.run(TESTED, QUICK, tmp_path, Console(quiet=True))
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["name"] == "management"
    figures = {key: figure["value"] for key, figure in content["figures"].items()}
    assert figures.keys() == {claim.key for part in TESTED for claim in MANAGEMENT.parts[part][1]}
    assert figures.pop("errors") == 0
    assert all(value is not None and value > 0 for value in figures.values()), figures
    assert content["environment"]["client_lag_p99_ms"] > 0
