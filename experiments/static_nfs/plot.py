"""Throughput over time, a line for each number of NFs.

python -m experiments.static_nfs.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.load import Load
from experiments.evaluation.repeat import Tables

LABELS = {"1": "1 NF", "2": "2 NFs", "3": "3 NFs"}


def draw(folder: Path, _parameters: Load, tables: Tables) -> None:
    """`throughput.png`."""
    pictures.cases(folder, tables, LABELS, title="Throughput with NFs that stay (paper, Fig. 5)")


if __name__ == "__main__":
    redraw.main("static-nfs")
