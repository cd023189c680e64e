"""Throughput over time, a line for each NF.

python -m experiments.passive.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.load import Load
from experiments.evaluation.repeat import Tables

LABELS = {"bridge": "a bridge alone", "passive": "an IDS beside it"}


def draw(folder: Path, _parameters: Load, tables: Tables) -> None:
    """`throughput.png`."""
    pictures.cases(folder, tables, LABELS, title="A bridge, and an IDS that listens beside one (paper, IV-A)")


if __name__ == "__main__":
    redraw.main("passive")
