"""Where a session would go: what a master says of a key, against where it then places it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict
from catenary.tags import TagPair
from lb_adapter.balancer import ChainTable
from lb_adapter.balancer import Pair as TableRow
from lb_adapter.core.splices import entries_of
from lb_adapter.dataplane.base import TakeOver
from lb_adapter.forecasting import Place, forecast
from tests.unit.test_lb_master import FIRST, SECOND, Pair
from tests.vectors.acting import key_of, tcp

KEY = key_of(tcp("S"))


def tags_of(pair: Pair, port: int) -> wire.Tags | None:
    """Where the master puts the client's SYN."""
    assert pair.plane.splice is not None
    verdict, _ = pair.plane.splice.outer(tcp("S", port=port), pair.now)
    if verdict.slot is None:
        return None
    row = pair.plane.splice.setup.slots[verdict.slot]
    return wire.Tags(forward=row.forward, reverse=row.reverse)


def of_port(port: int) -> str:
    return key_of(tcp("S", port=port)).text


def two(**weights: int) -> Pair:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    if weights:
        rows = [wire.PairAdd(**FIRST, weight=weights["one"]), wire.PairAdd(**SECOND, weight=weights["two"])]
        pair.master.rebalance(wire.Rebalance(weights=rows))
    return pair


def test_each_of_many_sessions_goes_where_it_was_said_to_go() -> None:
    pair = two(one=100, two=30)
    said, weighed = [], 0
    for port in range(1000, 1300):
        told = pair.master.forecast(of_port(port))
        weighed += len(told.candidates) == 2
        assert told.tags == tags_of(pair, port), told
        said.append(told.tags)
    assert weighed > 50
    assert {str(tags) for tags in said} == {str(wire.Tags(**FIRST)), str(wire.Tags(**SECOND))}


def test_the_loads_are_those_of_the_moment() -> None:
    pair = two()
    told = next(
        told
        for port in range(1000, 1100)
        if len((told := pair.master.forecast(of_port(port))).candidates) == 2
    )
    first, second = told.candidates
    assert (first.live, second.live, told.tags) == (0, 0, wire.Tags(**first.model_dump(include=FIRST)))
    slot = next(p.slot for p in pair.master.table.pairs if p.tags == first.pair())
    assert pair.plane.splice is not None
    pair.plane.splice.loads[slot] += 1
    again = pair.master.forecast(told.key)
    assert [item.live for item in again.candidates] == [1, 0]
    assert again.tags == wire.Tags(**second.model_dump(include=FIRST))


def test_in_overflow_the_plain_hash_alone_decides() -> None:
    pair = two()
    assert pair.plane.splice is not None
    pair.plane.splice.overflow = True
    for port in range(1000, 1050):
        told = pair.master.forecast(of_port(port))
        assert (told.overflow, len(told.candidates)) == (True, 1)
        assert told.tags == tags_of(pair, port)


def test_what_takes_no_session_is_no_candidate() -> None:
    pair = two(one=0, two=100)
    for port in range(1000, 1050):
        told = pair.master.forecast(of_port(port))
        assert told.tags == wire.Tags(**SECOND)
        assert told.tags == tags_of(pair, port)
    pair.master.change(wire.Change(remove=[wire.Tags(**SECOND)]))
    told = pair.master.forecast(KEY.text)
    assert (told.tags, told.reason) == (None, "all active chains have weight 0: uncordon one")
    assert tags_of(pair, 2000) is None
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    assert pair.master.forecast(KEY.text).reason == "no chain is active"


def test_a_master_that_copies_its_slaves_table_places_nothing() -> None:
    pair = two()
    pair.plane.set_take_over(TakeOver.HOLD)
    told = pair.master.forecast(KEY.text)
    assert told.tags is None
    assert told.reason is not None
    assert "until it has copied its slave's" in told.reason
    assert tags_of(pair, 1000) is None


def test_where_keys_are_coarser_there_is_no_single_session() -> None:
    pair = Pair()
    object.__setattr__(pair.master._config, "affinity", "client")
    with pytest.raises(Conflict, match="keeps sessions together by client"):
        pair.master.forecast(KEY.text)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=2), st.sampled_from(("maglev", "p2c")))
def test_what_is_chosen_is_a_candidate_with_the_least_for_its_weight(live: list[int], policy: str) -> None:
    rows = tuple(
        TableRow(TagPair(2 * n, 2 * n + 1), n, 1, 100, 50 * n, PairState.ACTIVE, 0.0) for n in (1, 2)
    )
    table = ChainTable(7, rows)
    loads = dict(zip((1, 2), live, strict=True))
    place = Place(table, entries_of(tuple(table.placement().items()), 509), loads.__getitem__, policy)  # type: ignore[arg-type]
    told = forecast(KEY, place)
    assert told.epoch == 7
    assert told.tags is not None
    (chosen,) = [item for item in told.candidates if item.pair() == told.tags.pair()]
    assert all(chosen.live * other.weight <= other.live * chosen.weight for other in told.candidates)
