"""Predicted cool-downs: quantiles of the last session to end, from ages or from rates."""

from __future__ import annotations

import random
from statistics import median

import pytest

from catenary.session import Timeouts
from mgmt_system.forecast import Load, cut, forecast

TIMES = Timeouts(tcp_closing=4, lease=2.5, transit=2)
PROOF, SHORTEST = 4.0, 8.5


def test_without_sessions_only_the_proof_is_left() -> None:
    found = forecast(Load(0), TIMES)
    assert (found.earliest, found.p50, found.p95) == (PROOF, PROOF, PROOF)


def test_with_nothing_known_but_the_number_only_the_earliest_end_is_told() -> None:
    found = forecast(Load(5), TIMES)
    assert (found.earliest, found.p50, found.p95) == (SHORTEST + PROOF, None, None)
    assert cut(Load(5), 10.0) is None


def test_one_that_is_silent_already_may_end_sooner() -> None:
    assert forecast(Load(2, idle=[8.0, 1.5]), TIMES).earliest == 7.0 + PROOF


@pytest.mark.parametrize("sessions", [1, 10, 200])
@pytest.mark.parametrize("by", ["ages", "rate"])
def test_the_quantiles_are_those_of_a_simulation(sessions: int, by: str) -> None:
    """Sessions with exponential lives of 60 s on the average: when is the last of them over?"""
    rng, mean = random.Random(sessions), 60.0
    ends = sorted(max(rng.expovariate(1 / mean) for _ in range(sessions)) + PROOF for _ in range(4000))
    load = Load(sessions, ages=[mean] * sessions) if by == "ages" else Load(sessions, sessions / mean)
    found = forecast(load, TIMES)
    assert found.p50 == pytest.approx(max(median(ends), SHORTEST + 2 * PROOF), rel=0.1)
    assert found.p95 == pytest.approx(ends[int(0.95 * len(ends))], rel=0.1)


def test_a_deadline_cuts_what_is_expected_to_live_on() -> None:
    load = Load(100, ages=[60.0] * 100)
    assert cut(load, 0.0) == 100
    assert cut(load, 60.0) == pytest.approx(36.8, rel=0.01)
    assert cut(load, 6000.0) == pytest.approx(0.0, abs=0.01)
    assert cut(Load(0), 60.0) == 0
