"""The Maglev table: exact shares, little disruption, the same in every process."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catenary.errors import InvalidValue
from catenary.maglev import EMPTY, SIZE, fill

SMALL = 1009


def named(weights: dict[int, int]) -> dict[int, tuple[str, int]]:
    return {slot: (f"chain-{slot}", weight) for slot, weight in weights.items()}


@settings(max_examples=30)
@given(st.dictionaries(st.integers(0, 255), st.integers(0, 1000), min_size=1, max_size=12))
def test_every_slot_gets_its_share_give_or_take_one(weights: dict[int, int]) -> None:
    counts = Counter(fill(named(weights), SMALL).tolist())
    total = sum(weights.values())
    if total == 0:
        assert counts == {EMPTY: SMALL}
        return
    assert sum(counts.values()) == SMALL
    for slot, weight in weights.items():
        assert abs(counts.get(slot, 0) - SMALL * weight / total) <= 1


@pytest.mark.parametrize("chains", [1, 2, 3, 8])
def test_another_chain_takes_little_more_than_its_share(chains: int) -> None:
    before = fill(named(dict.fromkeys(range(chains), 100)))
    after = fill(named(dict.fromkeys(range(chains + 1), 100)))
    moved = int(np.count_nonzero(before != after))
    assert moved / SIZE <= 1.25 / (chains + 1)  # the least possible is 1 / (chains + 1)


def test_a_removed_chain_leaves_most_of_the_others_entries_alone() -> None:
    before = fill(named({0: 100, 1: 100, 2: 100}))
    after = fill(named({0: 100, 2: 100}))
    stayed = before != 1
    assert np.count_nonzero(before[stayed] != after[stayed]) / SIZE < 0.12


def test_a_slots_number_does_not_matter_only_its_name_does() -> None:
    a = fill({0: ("x", 100), 1: ("y", 100)}, SMALL)
    b = fill({7: ("y", 100), 9: ("x", 100)}, SMALL)
    # Who chooses first goes by slot, so a few entries differ; the permutations are the same.
    assert np.count_nonzero((a == 0) == (b == 9)) / SMALL > 0.8


def test_the_table_is_the_same_in_every_process() -> None:
    assert fill(named({0: 100, 1: 50, 2: 25}), 13).tolist() == [2, 0, 0, 1, 0, 1, 1, 0, 0, 0, 2, 0, 1]


@pytest.mark.parametrize("size", [0, 1, 2, 4, 65536])
def test_a_size_that_is_no_prime_is_refused(size: int) -> None:
    with pytest.raises(InvalidValue, match=f"size {size} is not a prime"):
        fill({0: ("a", 1)}, size)


def test_a_cordoned_chain_gets_nothing() -> None:
    assert set(fill(named({0: 100, 1: 0}), SMALL).tolist()) == {0}
