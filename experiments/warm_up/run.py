"""Chains 1 -> 2 -> 3 under load (paper, Fig. 7). README.md has the claim and what differs."""

from __future__ import annotations

from experiments.evaluation.ratios import Ratio
from experiments.evaluation.scaling import Phase, Story, evaluation
from experiments.warm_up import plot

STORY = Story(
    phases=(
        Phase("1", 0, ("n1",), 10, paper=148),
        Phase("2", 35, ("n1", "n2"), 2, paper=247),
        Phase("3", 70, ("n1", "n2", "n3"), 5, paper=277),
    ),
    end=110,
    ratios={"2_1": Ratio("2", "1", at_least=1.5), "3_1": Ratio("3", "1", at_least=1.7)},
    rebalance_at_most=3.0,
    rebalance_paper=3.0,
)
EVALUATION = evaluation(
    "warm-up", "Throughput as chains are added: 1, 2, 3 (paper, Fig. 7)", STORY, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
