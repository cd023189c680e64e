"""Throughput of each chain over time, with the changes marked, and what the first change did.

python -m experiments.warm_up.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.load import Load
from experiments.evaluation.repeat import Tables


def draw(folder: Path, _parameters: Load, tables: Tables) -> None:
    """`throughput.png`."""
    pictures.scaling(folder, tables, title="Chains added under load: 1, 2, 3 (paper, Fig. 7)")


if __name__ == "__main__":
    redraw.main("warm-up")
