"""Chains come and go in one request: one becomes two others, these one again. README.md has the claim."""

from __future__ import annotations

from experiments.evaluation.ratios import Ratio
from experiments.evaluation.scaling import Phase, Story, evaluation
from experiments.swap import plot

STORY = Story(
    phases=(
        Phase("1", 0, ("n1",), 10),
        Phase("2", 35, ("n2", "n3"), 5),
        Phase("1_again", 70, ("n1",), 5),
    ),
    end=110,
    ratios={"2_1": Ratio("2", "1", at_least=1.5), "1_1": Ratio("1_again", "1", at_least=0.9)},
    rebalance_at_most=5.0,
    old_end=False,
)
EVALUATION = evaluation(
    "swap", "Chains added and removed in one request: +2 -1, then +1 -2", STORY, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
