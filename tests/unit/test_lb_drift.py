"""Loads are put right by what a walk counted, but not by what chance made it count."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_adapter.dataplane.drift import Tally, drift


def wrong(before: int, after: int, live: int, *, begun: int = 0) -> int:
    tallies = Tally(np.array([before]), np.array([7])), Tally(np.array([after]), np.array([7 + begun]))
    return int(drift(*tallies, np.array([live]))[0])


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_counted_while_nothing_happens_is_the_truth(load: int, live: int) -> None:
    assert load + wrong(load, load, live) == live


def test_sessions_that_come_and_go_meanwhile_explain_a_small_difference() -> None:
    assert wrong(5, 5, 9, begun=16) == 0
    assert wrong(5, 5, 19, begun=16) == 14, "but not any"
    assert wrong(10, 90, 52, begun=100) == 0, "of what only comes half is seen"


def test_pins_that_expired_or_that_a_copy_brought_are_drift_however_much_comes_and_goes() -> None:
    assert wrong(1000, 1010, 505, begun=200) == -500
    assert wrong(0, 10, 100_000, begun=200) == 99_995


def test_each_slot_is_judged_by_itself() -> None:
    before = Tally(np.array([5, 5, 0]), np.array([0, 100, 3]))
    after = Tally(np.array([5, 5, 0]), np.array([0, 164, 0]))  # the last one's counters were zeroed
    assert drift(before, after, np.array([6, 9, 0])).tolist() == [1, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_loads_stay_exact_through_walks_in_busy_traffic(seed: int) -> None:
    """Sessions of 5 ms, 1,600 a second, and a walk of 40 ms each second: few corrections are made."""
    chance = random.Random(seed)
    rate, life, walk = 1600, 0.005, 0.04
    kept = 0
    for _ in range(200):
        begins = [chance.uniform(-life, walk) for _ in range(round(rate * (walk + life)))]
        looked = [chance.uniform(0, walk) for _ in begins]
        at = [(b, b + chance.uniform(0, 2 * life)) for b in begins]
        before, after = (sum(b <= now < e for b, e in at) for now in (0, walk))
        seen = sum(b <= now < e for (b, e), now in zip(at, looked, strict=True))
        kept += wrong(before, after, seen, begun=sum(b > 0 for b, _ in at)) == 0
    assert kept >= 198
