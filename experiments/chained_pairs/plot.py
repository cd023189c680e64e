"""Throughput of each chain over time, with the changes marked, and what the first change did.

python -m experiments.chained_pairs.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.load import Load
from experiments.evaluation.repeat import Tables


def draw(folder: Path, _parameters: Load, tables: Tables) -> None:
    """`throughput.png`."""
    pictures.scaling(folder, tables, title="Two pairs in a row, each with chains of its own (paper, Fig. 3)")


if __name__ == "__main__":
    redraw.main("chained-pairs")
