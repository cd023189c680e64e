"""Throughput of one IDS with 20,000 SQL injections (paper, Fig. 6), averaged over [20, 80] s of its axis."""

from __future__ import annotations

from experiments.evaluation.fixed import Case, Cases, evaluation
from experiments.evaluation.load import PaperLoad
from experiments.evaluation.play import NFS
from experiments.injections_throughput import plot

LOAD = PaperLoad(injections=20_000, batch=188)
CASES = Cases(cases=(Case("injected", NFS[:1], LOAD, 20 / LOAD.seconds, 80 / LOAD.seconds, paper=152),))
EVALUATION = evaluation(
    "injections-throughput", "One IDS with 20,000 SQL injections (paper, Fig. 6)", CASES, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
