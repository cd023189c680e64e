"""Sessions a second by number of chains, and throughput by number of sessions.

python -m experiments.lb_alone.plot [DIR]
"""

from __future__ import annotations

from pathlib import Path

from experiments.evaluation import pictures, redraw
from experiments.evaluation.parameters import Parameters
from experiments.evaluation.repeat import Tables


def draw(folder: Path, _parameters: Parameters, tables: Tables) -> None:
    """`sessions.png` and `throughput.png`."""
    pictures.against(folder / "sessions.png", tables["sessions"], key="chains", unit="sessions/s")
    pictures.against(folder / "throughput.png", tables["throughput"], key="sessions", unit="Mbit/s")


if __name__ == "__main__":
    redraw.main("lb-alone")
