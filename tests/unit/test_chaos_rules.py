"""The simulator sees each rule that is switched off, and nothing in the same world while all hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.chaos import rules
from experiments.chaos.model import options_of, simulate
from experiments.chaos.rules import ALL_ON, REWRITING, RULES, Rule
from experiments.chaos.world import Outcome

README = Path(rules.__file__).with_name("README.md")
SEEN_IN_TIME = [
    *("look-up", "exchange", "servers-syn", "fin-marks", "reopened", "closed", "generations"),
    *("orders", "overflow-end", "eviction", "take-over"),
]
"""In one small world each; `make chaos` sees the others, too."""


def world(rule: Rule, seed: int) -> Outcome:
    return simulate(options_of(seed), rule)


@pytest.mark.parametrize("name", SEEN_IN_TIME)
def test_the_symptom_rises_without_the_rule_alone(name: str) -> None:
    rule = RULES[name]
    assert rule.count(world(rule, rule.seed)) > 0
    seen = world(replace(ALL_ON, world=rule.world), rule.seed)
    assert not seen.broken
    assert not seen.lost


def test_each_symptom_has_a_rule() -> None:
    assert {rule.symptom for rule in RULES.values()} == {"crossed", "cut", "lost"}


@pytest.mark.parametrize("seed", [0, 1])
def test_sessions_of_chains_that_rewrite_outlive_the_loss_of_either_table(seed: int) -> None:
    """An even seed's master loses its table, an odd one's slave."""
    seen = world(REWRITING, seed)
    assert seen.faults > 5
    assert not seen.broken
    assert not seen.lost


def test_the_readme_names_every_switch() -> None:
    rows = [row for row in README.read_text().splitlines() if row.startswith("| ")]
    for name in RULES:
        assert any(f"`{name}`" in row for row in rows), f"no sentence is named whose switch is {name}"
