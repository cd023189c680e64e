"""Chains come and go in one request: one becomes two others, these one again. README.md has the claim."""

from __future__ import annotations

from experiments.evaluation.scaling import Phase, Story, evaluation

STORY = Story(
    phases=(
        Phase("1", 0, ("n1",), 10),
        Phase("2", 35, ("n2", "n3"), 5),
        Phase("1_again", 70, ("n1",), 5),
    ),
    end=110,
    ratios={"2_1": ("2", "1", 1.5, None), "1_1": ("1_again", "1", 0.9, None)},
    rebalance_at_most=5.0,
)
EVALUATION = evaluation("swap", "Chains added and removed in one request: +2 -1, then +1 -2", STORY)

if __name__ == "__main__":
    EVALUATION.main()
