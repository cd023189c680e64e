"""Chains 3 -> 2 -> 1 under load (paper, Fig. 8). README.md has the claim and what differs."""

from __future__ import annotations

from experiments.cool_down import plot
from experiments.evaluation.ratios import Ratio
from experiments.evaluation.scaling import Phase, Story, evaluation

STORY = Story(
    phases=(
        Phase("3", 0, ("n1", "n2", "n3"), 10, paper=270),
        Phase("2", 35, ("n1", "n3"), 5, paper=244),
        Phase("1", 70, ("n1",), 5, paper=152),
    ),
    end=110,
    ratios={"2_1": Ratio("2", "1", at_least=1.5), "3_1": Ratio("3", "1", at_least=1.7)},
    rebalance_at_most=5.0,
    rebalance_paper=4.0,
)
EVALUATION = evaluation(
    "cool-down", "Throughput as chains are removed: 3, 2, 1 (paper, Fig. 8)", STORY, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
