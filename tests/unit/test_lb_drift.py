"""Loads are put right by what a walk counted, but not by what chance made it count."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_adapter.dataplane.drift import Drift, Tally


def found(
    before: int, after: int, live: int, *, begun: int = 0, drift: Drift | None = None, seen: int = 7
) -> int:
    tallies = Tally(np.array([before]), np.array([seen])), Tally(np.array([after]), np.array([seen + begun]))
    return int((drift or Drift(1)).found(*tallies, np.array([live]))[0])


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_counted_while_nothing_happens_is_the_truth(load: int, live: int) -> None:
    assert load + found(load, load, live) == live


def test_sessions_that_come_and_go_meanwhile_explain_a_small_difference() -> None:
    assert found(5, 5, 9, begun=16) == 0
    assert found(5, 5, 19, begun=16) == 14, "but not any"
    assert found(10, 90, 52, begun=100) == 0, "of what only comes half is seen"


def test_pins_that_expired_or_that_a_copy_brought_are_drift_however_much_comes_and_goes() -> None:
    assert found(1000, 1010, 505, begun=200) == -500
    drift = Drift(1)
    assert [found(5, 5, 5, begun=200, drift=drift) for _ in range(50)] == [0] * 50
    assert found(0, 10, 100_000, begun=200, drift=drift) == 99_995, "at once, whatever was before"


def test_each_slot_is_judged_by_itself() -> None:
    before = Tally(np.array([5, 5, 0]), np.array([0, 100, 3]))
    after = Tally(np.array([5, 5, 0]), np.array([0, 164, 0]))  # the last one's counters were zeroed
    assert Drift(3).found(before, after, np.array([6, 9, 0])).tolist() == [1, 0, 0]


def counted(chance: random.Random, live: int, changes: int) -> int:
    """What a walk finds of `live` sessions while so many come and go: each is seen or not."""
    return live + sum(chance.choice((0, 1)) for _ in range(changes)) - changes // 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wrong", [6, -8, 15])
def test_what_is_wrong_by_little_shows_in_several_walks(wrong: int, seed: int) -> None:
    chance, drift, load = random.Random(seed), Drift(1), 30 + wrong
    for _ in range(100):
        load += found(load, load, counted(chance, 30, 100), begun=50, drift=drift)
    assert abs(load - 30) <= 4


@pytest.mark.parametrize("seed", range(3))
def test_loads_that_are_right_stay_so_in_busy_traffic(seed: int) -> None:
    """Sessions of 5 ms on average, 1,600 a second, and walks of 40 ms."""
    chance, drift = random.Random(seed), Drift(1)
    rate, life, walk = 1600, 0.005, 0.04
    corrected = 0
    for _ in range(200):
        begins = [chance.uniform(-2 * life, walk) for _ in range(round(rate * (walk + 2 * life)))]
        lives = [(begin, begin + chance.uniform(0, 2 * life)) for begin in begins]
        before, after = (sum(begin <= now < end for begin, end in lives) for now in (0, walk))
        looks = [chance.uniform(0, walk) for _ in lives]
        seen = sum(begin <= look < end for (begin, end), look in zip(lives, looks, strict=True))
        corrected += found(before, after, seen, begun=sum(begin > 0 for begin in begins), drift=drift) != 0
    assert corrected <= 2
