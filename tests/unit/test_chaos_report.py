"""The table of rules in docs/reliability.md comes from a run's summary."""

from __future__ import annotations

import pytest

from catenary.errors import InvalidValue
from experiments.chaos import report
from experiments.chaos.rules import RULES
from experiments.chaos.simulator import figure_of
from experiments.chaos.world import Outcome


def figures() -> dict[str, dict[str, object]]:
    seen = Outcome(sessions=4844, broken=["a"] * 1880)
    seen.cut["drop"] = 2212
    return {f"without_{name}": figure_of(name, seen).plain() for name in RULES}


def test_every_rule_has_its_row() -> None:
    head, _, *rows = report.table(figures()).splitlines()
    assert head == "| without the rule | that is | seen |"
    assert len(rows) == len(RULES)
    assert rows[0] == (
        "| `one-writer` | both load balancers place by their hash (the paper's Algorithm 1) "
        "| 1,880 crossed, of 4,844 sessions |"
    )
    assert rows[-2] == (
        "| `rules-last` | switch rules go when a removal begins | 2,212 packets cut, of 4,844 sessions |"
    )


def test_a_rule_that_was_not_switched_off_is_named() -> None:
    seen = figures()
    del seen["without_copy"]
    with pytest.raises(InvalidValue, match="copy"):
        report.table(seen)
