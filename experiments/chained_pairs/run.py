"""Two pairs in a row scale on their own (paper, Fig. 3). README.md has the claim and what differs."""

from __future__ import annotations

from experiments.chained_pairs import plot
from experiments.evaluation.play import Site
from experiments.evaluation.ratios import Ratio
from experiments.evaluation.scaling import Phase, Story, evaluation
from topologies.chained import CHAINED

SITE = Site(CHAINED, {"first": ("a1", "a2"), "second": ("b1", "b2")})
STORY = Story(
    phases=(
        Phase("1_1", 0, ("a1", "b1"), 10),
        Phase("2_1", 35, ("a1", "a2", "b1"), 5),
        Phase("2_2", 70, ("a1", "a2", "b1", "b2"), 5),
    ),
    end=110,
    ratios={
        "first_alone": Ratio("2_1", "1_1", at_least=0.85, at_most=1.15),
        "both": Ratio("2_2", "1_1", at_least=1.5),
    },
    site=SITE,
)
EVALUATION = evaluation(
    "chained-pairs", "Two pairs in a row scale on their own (paper, Fig. 3)", STORY, plot.draw
)

if __name__ == "__main__":
    EVALUATION.main()
