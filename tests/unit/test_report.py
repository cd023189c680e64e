"""`make report`: one page from all results."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catenary.errors import InvalidValue, NotFound
from experiments.report.results import collect
from experiments.report.run import page

ROOT = Path(__file__).parents[2]
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def result(folder: Path, name: str, **more: Any) -> None:
    own = folder / name
    own.mkdir(parents=True)
    (own / "throughput.png").write_bytes(PICTURE)
    content = {
        "name": name,
        "ok": False,
        "status": "noisy",
        "figures": {
            "ratio": {"value": 1.81, "unit": "", "paper": 1.67, "runs": [1.8, 1.9], "spread": 0.1},
            "violations": {"value": 2, "unit": "sessions <b>"},
            "rebalance_s": {"value": None, "unit": "s"},
        },
        "asked": {
            "ratio": {"text": ">= 1.5", "holds": True},
            "violations": {"text": "= 0", "holds": False},
        },
        "environment": {"kernel": "6.1", "cpus": 2, "time": "2026-01-02T03:04:05Z"},
        "seeds": [7, 8],
        "command": f"python -m experiments.{name}.run",
        **more,
    }
    (own / "summary.json").write_text(json.dumps(content))


def test_the_page_shows_all_and_needs_nothing_else(tmp_path: Path) -> None:
    result(tmp_path, "warm-up")
    programs = {"curl": "7.88.1", "suricata": "7.0.10"}
    result(tmp_path, "bench", environment={"kernel": "6.1", "cpus": 4, "versions": programs})
    found = collect(tmp_path)
    assert [item.name for item in found if not item.reference] == ["warm-up", "bench"]
    text = page(found, "2026-01-02")
    for part in (
        "1.67",
        "1.81",
        "1.8, 1.9",
        "noisy",
        "seeds 7, 8",
        "python -m experiments.warm-up.run",
        "cpus: 4",
        "versions: curl: 7.88.1; suricata: 7.0.10",
    ):
        assert part in text
    assert "data:image/png;base64," in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text), "nothing is loaded"
    assert "<b>" not in text, "what comes from a file is escaped"
    assert '<td class="number good">1.81</td>' in text
    assert '<td class="number bad">2</td>' in text
    assert "viewport" in text
    assert "@media print" in text


def test_what_is_not_there_or_broken_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.report.results.catalog.NAMES", ())
    with pytest.raises(NotFound, match="run `make experiments` first"):
        collect(tmp_path)
    result(tmp_path, "bench")
    (tmp_path / "bench" / "summary.json").write_text("{}")
    with pytest.raises(InvalidValue, match=r"bench/summary.json is no summary of an experiment"):
        collect(tmp_path)


def test_as_a_command(tmp_path: Path) -> None:
    result(tmp_path, "bench")
    command = [sys.executable, "-m", "experiments.report.run", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    done = subprocess.run(
        [*command, "--to", "/proc/none/report.html"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "can't be written" in done.stderr
