"""Throughput with one, two and three NFs that stay (paper, Fig. 5). README.md has the claim."""

from __future__ import annotations

from experiments.evaluation.fixed import Case, Cases, evaluation
from experiments.evaluation.load import PaperLoad
from experiments.evaluation.play import NFS

CASES = Cases(
    cases=(
        Case("1", NFS[:1], PaperLoad(), 0.3, 1.0, paper=162),
        Case("2", NFS[:2], PaperLoad(), 0.3, 1.0),
        Case("3", NFS[:3], PaperLoad(), 0.3, 1.0),
    ),
    ratios={"2_1": ("2", "1", 1.6, None), "3_1": ("3", "1", 2.2, None)},
)
EVALUATION = evaluation(
    "static-nfs", "Throughput with one, two and three NFs that stay (paper, Fig. 5)", CASES
)

if __name__ == "__main__":
    EVALUATION.main()
