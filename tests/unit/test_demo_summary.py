"""`summary.json`: the form that every experiment writes."""

from __future__ import annotations

import json
from pathlib import Path

from experiments import summary
from experiments.summary import Figure


def test_the_form(tmp_path: Path) -> None:
    path = tmp_path / "made" / "summary.json"
    figures = {"a": Figure(1.5, "s"), "b": Figure(None, "Mbit/s", paper=148)}
    summary.write(path, "demo", ok=False, figures=figures, environment={"kernel": "6.1"})
    assert json.loads(path.read_text()) == {
        "name": "demo",
        "ok": False,
        "figures": {
            "a": {"value": 1.5, "unit": "s"},
            "b": {"value": None, "unit": "Mbit/s", "paper": 148},
        },
        "environment": {"kernel": "6.1"},
    }
    assert [item.name for item in path.parent.iterdir()] == ["summary.json"]


def test_the_environment_has_what_a_reader_needs_to_compare_and_no_host_name() -> None:
    facts = summary.environment(phase_s=16)
    assert facts["phase_s"] == 16
    assert {
        "kernel",
        "os",
        "cpu",
        "cpus",
        "memory_mb",
        "python",
        "open_vswitch",
        "load_average",
    } <= facts.keys()
    assert facts["cpus"] >= 1
    assert "host" not in " ".join(facts)
