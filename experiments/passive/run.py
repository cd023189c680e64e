"""A detecting, non-preventing NF does not slow traffic (the paper's remark on Bro, section IV-A)."""

from __future__ import annotations

from experiments.evaluation.fixed import Case, Cases, evaluation
from experiments.evaluation.load import PaperLoad
from experiments.evaluation.play import NFS
from experiments.evaluation.ratios import Ratio
from experiments.passive import plot

LOAD = PaperLoad(injections=8000, batch=75)
CASES = Cases(
    cases=(
        Case("bridge", NFS[:1], LOAD, 0.3, 1.0, nf="bridge"),
        Case("passive", NFS[:1], LOAD, 0.3, 1.0),
    ),
    ratios={"passive_bridge": Ratio("passive", "bridge", at_least=0.95)},
)
EVALUATION = evaluation(
    "passive", "A detecting, non-preventing NF does not slow traffic (paper, IV-A)", CASES, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
