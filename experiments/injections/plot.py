"""How many injections each IDS told of, case by case.

python -m experiments.injections.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.load import Load
from experiments.evaluation.repeat import Tables, apart


def draw(folder: Path, _parameters: Load, tables: Tables) -> None:
    """`alerts.png`, of the first run."""
    counts = dict(apart(tables["alerts"])[0])
    cases = zip(counts.pop("batch"), counts.pop("every_s"), strict=True)
    labels = [f"{batch} every {every:g} s" for batch, every in cases]
    title = "SQL injections that each IDS told of"
    pictures.shares(folder / "alerts.png", labels, counts, title=title, unit="alerts")


if __name__ == "__main__":
    redraw.main("injections")
