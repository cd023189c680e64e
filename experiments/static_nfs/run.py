"""Throughput with one, two and three NFs that stay (paper, Fig. 5). README.md has the claim."""

from __future__ import annotations

from experiments.evaluation.fixed import Case, Cases, evaluation
from experiments.evaluation.load import PaperLoad
from experiments.evaluation.play import NFS
from experiments.evaluation.ratios import Ratio
from experiments.static_nfs import plot

CASES = Cases(
    cases=(
        Case("1", NFS[:1], PaperLoad(), 0.3, 1.0, paper=162),
        Case("2", NFS[:2], PaperLoad(), 0.3, 1.0),
        Case("3", NFS[:3], PaperLoad(), 0.3, 1.0),
    ),
    ratios={"2_1": Ratio("2", "1", at_least=1.6), "3_1": Ratio("3", "1", at_least=2.2)},
)
EVALUATION = evaluation(
    "static-nfs", "Throughput with one, two and three NFs that stay (paper, Fig. 5)", CASES, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
