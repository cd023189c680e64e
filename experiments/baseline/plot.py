"""Throughput of each data plane, beside the paper's.

python -m experiments.baseline.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.parameters import Parameters
from experiments.evaluation.repeat import Tables


def draw(folder: Path, _parameters: Parameters, tables: Tables) -> None:
    """`bars.png`."""
    pictures.bars(
        folder / "bars.png",
        tables["throughput"],
        key="plane",
        value="mbit",
        paper="paper_mbit",
        title="Throughput of the testbed (paper, IV)",
        unit="Mbit/s",
    )


if __name__ == "__main__":
    redraw.main("baseline")
