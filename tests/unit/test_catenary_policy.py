"""Rebalancing by weights: new sessions only, nobody starved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from catenary.chain import WEIGHT_MAX
from catenary.policy import rebalanced

weights = st.dictionaries(st.integers(0, 9), st.integers(0, WEIGHT_MAX), min_size=1)
loads = st.dictionaries(st.integers(0, 9), st.integers(0, 10_000))


def test_a_chain_with_twice_its_share_gets_half_its_weight() -> None:
    assert rebalanced({0: 100, 1: 100}, {0: 400, 1: 0})[0] == 50


def test_equal_loads_change_nothing() -> None:
    assert rebalanced({0: 100, 1: 100}, {0: 70, 1: 70}) == {0: 100, 1: 100}


def test_no_sessions_change_nothing() -> None:
    assert rebalanced({0: 100, 1: 30}, {}) == {0: 100, 1: 30}


@given(weights, loads)
def test_weights_stay_within_a_factor_of_four_and_cordoned_stays_cordoned(
    weights: dict[int, int], live: dict[int, int]
) -> None:
    result = rebalanced(weights, live)
    assert result.keys() == weights.keys()
    for slot, weight in weights.items():
        assert (result[slot] == 0) == (weight == 0)
        assert min(weight, max(1, weight // 4)) <= result[slot] <= min(WEIGHT_MAX, 4 * weight)
