"""What one IDS carries under both of the paper's loads, and with injections (paper, section IV-A)."""

from __future__ import annotations

from experiments.evaluation.fixed import Case, Cases, evaluation
from experiments.evaluation.load import PaperLoad
from experiments.evaluation.play import NFS
from experiments.evaluation.ratios import Ratio
from experiments.snort_single import plot

CASES = Cases(
    cases=(
        Case("8000", NFS[:1], PaperLoad(), 0.3, 1.0, paper=162),
        Case("3000", NFS[:1], PaperLoad(3000, 40, 1.0), 0.3, 1.0, paper=162),
        Case("injected", NFS[:1], PaperLoad(injections=8000, batch=75), 0.2, 0.8, paper=152),
    ),
    ratios={
        "3000_8000": Ratio("3000", "8000", at_least=0.9, at_most=1.1),
        "injected_8000": Ratio("injected", "8000", at_least=0.8, at_most=1.05),
    },
)
EVALUATION = evaluation(
    "snort-single", "One IDS under two loads, and with injections (paper, IV-A)", CASES, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
