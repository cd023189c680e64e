"""Tag pairs: what they refuse, how they are written, how they are allocated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary.errors import Conflict, InvalidValue, Unavailable
from catenary.tags import VLAN_ID_MAX, TagPair, allocate, check_free, check_vlan_id

vids = st.integers(1, VLAN_ID_MAX)


@pytest.mark.parametrize("vid", [0, 4095, -1, 65536, True, "7", 2.0])
def test_an_id_that_is_no_vlan_id_is_refused_by_its_value(vid: object) -> None:
    with pytest.raises(InvalidValue, match=str(vid)):
        check_vlan_id(vid)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "forward,reverse,text",
    [
        (0, 3, "forward tag 0 is out of range: use 1..4094"),
        (2, 4095, "reverse tag 4095 is out of range: use 1..4094"),
        (7, 7, "tag pair (7, 7) uses one VLAN ID twice: forward and reverse must differ"),
    ],
)
def test_a_bad_pair_is_refused_with_the_fix(forward: int, reverse: int, text: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        TagPair(forward, reverse)
    assert refusal.value.detail == text
    assert (refusal.value.status, refusal.value.exit_code) == (422, 2)


@given(st.lists(vids, min_size=2, max_size=2, unique=True))
def test_every_way_to_write_a_pair_is_read_back(ids: list[int]) -> None:
    pair = TagPair(*ids)
    assert TagPair.parse(pair.path) == TagPair.parse(str(pair)) == TagPair.parse(f"{ids[0]},{ids[1]}") == pair
    assert pair.ids == (ids[0], ids[1])


@pytest.mark.parametrize("text", ["", "2", "2-3-4", "a,b", "(2;3)", "--"])
def test_text_that_is_no_pair_is_quoted(text: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        TagPair.parse(text)
    assert repr(text) in refusal.value.detail


def test_an_id_in_use_is_refused_as_the_papers_own_text_would_need() -> None:
    # The paper prints (5, 6) beside (4, 5).
    with pytest.raises(Conflict, match=r"VLAN ID 5 of tag pair \(5, 6\) is in use"):
        check_free(TagPair(5, 6), {4, 5})
    assert check_free(TagPair(6, 7), {4, 5}) == TagPair(6, 7)


def test_pairs_are_allocated_as_in_the_papers_figure() -> None:
    in_use: set[int] = set()
    for expected in ((2, 3), (4, 5), (6, 7)):
        pair = allocate(in_use)
        assert pair.ids == expected
        in_use.update(pair.ids)


@given(st.sets(st.integers(1, 40)))
def test_what_is_allocated_is_free(in_use: set[int]) -> None:
    assert not set(allocate(in_use).ids) & in_use


def test_no_id_left_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="remove a chain"):
        allocate(range(1, VLAN_ID_MAX))
