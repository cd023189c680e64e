"""Throughput over time, a line for each case.

python -m experiments.injections_throughput.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.load import Load
from experiments.evaluation.repeat import Tables

LABELS = {"injected": "with injections"}


def draw(folder: Path, _parameters: Load, tables: Tables) -> None:
    """`throughput.png`."""
    pictures.cases(folder, tables, LABELS, title="One IDS with 20,000 SQL injections (paper, Fig. 6)")


if __name__ == "__main__":
    redraw.main("injections-throughput")
