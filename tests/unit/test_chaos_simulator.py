"""The simulator's part of the experiment: how many worlds it runs, and what it tells meanwhile."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pytest
from rich.console import Console

from experiments.chaos import model, simulator
from experiments.chaos.rules import ALL_ON, Rule
from experiments.chaos.world import Outcome


def worlds(seeds: Iterable[int], rule: Rule) -> Iterator[Outcome]:
    for _ in seeds:
        yield Outcome(sessions=1250)


def run(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> tuple[int, Outcome, list[str]]:
    monkeypatch.setattr(model, "simulate_all", worlds)
    told = io.StringIO()
    console = Console(file=told, force_terminal=terminal, highlight=False)
    number, total = simulator.run_worlds(console, "all", range(50), ALL_ON, 50_000)
    return number, total, told.getvalue().splitlines()


def test_worlds_end_with_the_sessions_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    number, total, _ = run(monkeypatch, terminal=False)
    assert (number, total.sessions) == (40, 50_000)


def test_every_tenth_is_told_where_nothing_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, told = run(monkeypatch, terminal=False)
    shares = [line.split(", ")[1] for line in told[:-1]]
    assert shares == [f"{share}%" for share in range(10, 100, 10)]
    assert told[-1] == "all: 50000 sessions, 0 crossed, 0 lost, 0 packets cut"
