"""Throughput over time, a line for each load.

python -m experiments.snort_single.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.load import Load
from experiments.evaluation.repeat import Tables

LABELS = {
    "8000": "8000 sessions of 0.75 MB",
    "3000": "3000 sessions of 1 MB",
    "injected": "8000 sessions and 8000 injections",
}


def draw(folder: Path, _parameters: Load, tables: Tables) -> None:
    """`throughput.png`."""
    pictures.cases(folder, tables, LABELS, title="One IDS under three loads (paper, IV-A)")


if __name__ == "__main__":
    redraw.main("snort-single")
