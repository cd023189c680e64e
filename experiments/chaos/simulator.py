"""The simulator's part: worlds with all rules, worlds without faults, worlds with each rule switched off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing

from rich.console import Console

from catenary.errors import InvalidValue
from experiments.chaos import model
from experiments.chaos.rules import ALL_ON, BASELINE, CALM, REWRITING, RULES, Rule, Symptom
from experiments.chaos.world import Outcome
from experiments.part import Part
from experiments.summary import Claim, Figure

SHORT = 100_000
FEW, MANY = 4, 60
"""Worlds without faults; worlds with a rule switched off, at most, until what it prevents is seen (and `FEW`
at least, in a run of more sessions than `SHORT`)."""
SHOWN = 3
_SYMPTOMS: dict[Symptom, str] = {
    "crossed": "sessions crossed",
    "cut": "packets cut",
    "lost": "sessions lost",
}
ORDERS = {"reset": "reset", "moved": "move", "moved_by_deadline": "delete", "let_go": "idle"}
"""Figures of what orders ended, by how."""


def without(name: str, seed: int, console: Console) -> bool:
    """One world with a rule off, and the first of what it broke; True when its symptom is there."""
    if name not in RULES:
        raise InvalidValue(f"--without {name!r}: the rules are {', '.join(RULES)}")
    rule = RULES[name]
    seen = model.simulate(model.options_of(seed), rule)
    console.print(f"without {name}: {rule.text}")
    console.print(f"  {_seen(seen)}")
    stories = seen.lost if rule.symptom == "lost" else seen.broken
    if stories:
        console.print(min(stories, key=len), markup=False, soft_wrap=True)
    return rule.count(seen) > 0


def simulated(sessions: int, first: int, console: Console) -> Part:
    """Simulate at least so many sessions from the seed `first` on, then the same without each rule."""
    seeds = range(first, first + -(-sessions // model.PER_WORLD))
    worlds, seen = run_worlds(console, "all rules on", seeds, ALL_ON, sessions)
    _, calm = run_worlds(console, "all rules on, without faults", seeds[:FEW], CALM)
    _, rewritten = run_worlds(console, "all rules on, chains that rewrite", seeds[:FEW], REWRITING)
    without = _without_each(console, first, FEW if sessions > SHORT else 1)
    broken = seen.broken + calm.broken + rewritten.broken
    figures = {
        "simulated_sessions": Figure(seen.sessions, "sessions"),
        "simulated_packets": Figure(seen.packets, "packets"),
        "simulated_changes": Figure(seen.changes, "changes of the chain set"),
        "simulated_faults": Figure(seen.faults, "faults"),
        "simulated_violations": Figure(len(broken), "sessions"),
        "simulated_lost": Figure(len(rewritten.lost), f"of {rewritten.sessions} sessions"),
        "simulated_orphaned": Figure(seen.orphaned, "sessions"),
        **{f"simulated_{how}": Figure(seen.ended[order], "pins") for how, order in ORDERS.items()},
        "cut_without_faults": Figure(calm.cut.total(), "packets"),
        "baseline_violations": Figure(
            len(without[BASELINE].broken), f"of {without[BASELINE].sessions} sessions"
        ),
    }
    rules = {f"without_{name}": figure_of(name, without[name]) for name in RULES}
    claims = [
        Claim("simulated_sessions", at_least=sessions),
        Claim("simulated_violations", 0, 0),
        Claim("simulated_lost", 0, 0),
        Claim("cut_without_faults", 0, 0),
        Claim("baseline_violations", at_least=1),
        *(Claim(f"simulated_{how}", at_least=1) for how in ORDERS if sessions >= SHORT),
        *(Claim(key, at_least=1) for key in rules),
    ]
    return Part(
        figures | rules, claims, _shortest(broken + rewritten.lost), {"first_seed": first, "worlds": worlds}
    )


def run_worlds(
    console: Console, text: str, seeds: range, rule: Rule, enough: float = math.inf
) -> tuple[int, Outcome]:
    """Worlds of these seeds until they had `enough` sessions: how many, and what they saw."""
    total, number, tenths = Outcome(), 0, 1
    with console.status(text) as status, closing(model.simulate_all(seeds, rule)) as outcomes:
        for number, seen in enumerate(outcomes, 1):
            total += seen
            share = max(number / len(seeds), total.sessions / enough)
            told = f"{text}: {number} worlds, {min(share, 1):.0%}, {_seen(total)}"
            status.update(told)
            if share >= 1:
                break
            if not console.is_terminal and 10 * share >= tenths:
                console.print(told, soft_wrap=True)
                tenths = int(10 * share) + 1
    console.print(f"{text}: {_seen(total)}")
    return number, total


def _without_each(console: Console, first: int, least: int) -> dict[str, Outcome]:
    """By rule, worlds with it switched off, until its symptom shows."""
    seen: dict[str, Outcome] = {}
    with console.status("each rule switched off") as status:
        worlds = range(least, MANY + 1)
        for name, total in model.simulate_until(RULES, first, worlds, _shows):
            seen[name] = total
            console.print(f"without {name}: {_seen(total)}")
            status.update(f"each rule switched off: {len(seen)} of {len(RULES)}")
    return seen


def _shows(name: str, seen: Outcome) -> bool:
    return RULES[name].count(seen) > 0


def _seen(total: Outcome) -> str:
    return (
        f"{total.sessions} sessions, {len(total.broken)} crossed, {len(total.lost)} lost, "
        f"{total.cut.total()} packets cut"
    )


def figure_of(name: str, seen: Outcome) -> Figure:
    """What a rule that is switched off lets happen."""
    what = _SYMPTOMS[RULES[name].symptom]
    return Figure(RULES[name].count(seen), f"{what}, of {seen.sessions} sessions")


def _shortest(broken: Sequence[str]) -> list[str]:
    """The counter-examples that are read most easily."""
    return sorted(broken, key=len)[:SHOWN]
