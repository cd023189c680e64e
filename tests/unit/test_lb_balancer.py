"""The chain set's rules: what may change, and when a removed chain is drained."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary import wire
from catenary.chain import PairState
from catenary.classifier import Rule
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from catenary.tags import TagPair
from lb_adapter import balancer
from lb_adapter.balancer import ChainTable
from lb_adapter.daemon import from_wire, to_wire

ASK, D = 4094, 2.0
FIRST, SECOND, THIRD = TagPair(2, 3), TagPair(4, 5), TagPair(6, 7)


def change(table: ChainTable, now: float = 0.0, **request: object) -> ChainTable:
    return balancer.change(table, ask_id=ASK, now=now, transit=D, **request)  # type: ignore[arg-type]


def advance(table: ChainTable, now: float, pins: int = 0, leases: int = 0) -> ChainTable:
    slots = {pair.slot: pins for pair in table.pairs}
    return balancer.advance(table, slots, dict.fromkeys(slots, leases), now, D)


def three() -> ChainTable:
    return change(ChainTable(), add=[(FIRST, 100), (SECOND, 100), (THIRD, 50)])


def state(table: ChainTable, tags: TagPair) -> PairState:
    return table.find(tags).state


def test_several_adds_and_removes_are_one_epoch() -> None:
    table = three()
    assert table.epoch == 1
    table = change(table, add=[(TagPair(8, 9), 100)], remove=[FIRST, SECOND])
    assert table.epoch == 2
    assert table.placement() == {2: ("6-7", 50), 3: ("8-9", 100)}
    assert table.designated == 2


def test_same_add_again_is_no_change() -> None:
    table = three()
    assert change(table, add=[(FIRST, 100)]) is table
    with pytest.raises(Conflict, match="weight 100, not 7"):
        change(table, add=[(FIRST, 7)])


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        ({"add": [(TagPair(3, 9), 100)]}, Conflict, "VLAN ID 3"),
        ({"add": [(TagPair(9, ASK), 100)]}, Conflict, "VLAN ID 4094"),
        ({"add": [(TagPair(8, 9), 1001)]}, InvalidValue, "weight 1001"),
        ({"remove": [TagPair(8, 9)]}, NotFound, r"\(8, 9\)"),
        ({"forget": [FIRST]}, Conflict, "active, not drained"),
        ({"cancel": [TagPair(8, 9)]}, NotFound, r"\(8, 9\)"),
        ({"add": [(TagPair(8, 9), 100)], "remove": [FIRST, FIRST]}, Conflict, "already cooling"),
    ],
)
def test_bad_requests_name_the_value(request_: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        change(three(), **request_)


def test_cool_down_goes_step_by_step_and_waits_2d_each_time() -> None:
    table = change(three(), now=10.0, remove=[FIRST])
    assert advance(table, 13.9) is table, "a packet placed before the change may still be on its way"
    assert advance(table, 14.1, pins=1) is table
    closed = advance(table, 14.1)
    assert state(closed, FIRST) is PairState.CLOSED
    assert advance(closed, 18.0) is closed
    assert advance(closed, 18.2, pins=1) is closed, "pins are read again"
    assert advance(closed, 18.2, leases=1) is closed, "and leases"
    drained = advance(closed, 18.2)
    assert state(drained, FIRST) is PairState.DRAINED
    assert drained.epoch == table.epoch + 2


def test_forgotten_ids_rest_and_the_slot_gets_a_new_generation() -> None:
    table = advance(advance(change(three(), remove=[FIRST]), 5.0), 10.0)
    table = change(table, now=10.0, forget=[FIRST])
    with pytest.raises(Unavailable, match=r"VLAN ID 3 .* 4\.0 s"):
        change(table, now=10.0, add=[(TagPair(3, 9), 100)])
    with pytest.raises(NotFound):
        table.find(FIRST)
    table = change(table, now=14.1, add=[(FIRST, 100)])
    assert (table.find(FIRST).slot, table.find(FIRST).generation) == (0, 2)


def test_who_begins_anew_by_what_the_peer_has_gives_no_generation_twice() -> None:
    table = advance(advance(change(three(), remove=[FIRST]), 10.0), 20.0)
    table = change(table, 30.0, forget=[FIRST])
    sent = to_wire("main", table).model_dump_json()
    copied = from_wire(wire.ChainSet.model_validate(json.loads(sent)), 40.0)
    copied = change(copied, 50.0, add=[(TagPair(8, 9), 100)])
    assert (copied.find(TagPair(8, 9)).slot, copied.find(TagPair(8, 9)).generation) == (0, 2)


def test_rebalance_skews_new_sessions_and_the_next_change_ends_it() -> None:
    table = balancer.reweigh(three(), (), {0: 300, 1: 100, 2: 100})
    placed = {slot: weight for slot, (_, weight) in table.placement().items()}
    assert placed[0] < placed[1]
    assert [pair.weight for pair in table.pairs] == [100, 100, 50]
    table = change(table, add=[(TagPair(8, 9), 100)])
    assert [pair.placed for pair in table.pairs] == [100, 100, 50, 100]


def test_operators_weights_are_checked_as_a_whole() -> None:
    table = three()
    assert balancer.reweigh(table, [(FIRST, 0)], {}).placement()[0] == ("2-3", 0)
    with pytest.raises(NotFound, match=r"\(8, 9\)"):
        balancer.reweigh(table, [(FIRST, 5), (TagPair(8, 9), 5)], {})
    cooling = change(table, remove=[FIRST])
    with pytest.raises(Conflict, match="cooling"):
        balancer.reweigh(cooling, [(FIRST, 5)], {})


def test_slow_start_brings_a_new_chain_up_in_ten_steps() -> None:
    table = change(change(ChainTable(), add=[(FIRST, 100)]), now=100.0, add=[(SECOND, 100)])
    weights = []
    for tenth in range(12):
        table = balancer.warmed(table, 100.0 + tenth, 10.0)
        weights.append(table.find(SECOND).placed)
    assert weights == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100, 100]
    assert table.find(FIRST).placed == 100, "it has been there for long"
    assert not table.warming()


_step = st.tuples(
    st.sampled_from(["add", "remove", "forget", "advance"]),
    st.integers(0, 4),
    st.floats(0, 10),
    st.integers(0, 1),
)


@given(st.lists(_step, max_size=40))
def test_whatever_is_asked_the_set_stays_sound(steps: list[tuple[str, int, float, int]]) -> None:
    """Epochs only grow, no ID or slot is shared, and a slot never shows a generation twice."""
    table, now = ChainTable(), 0.0
    seen: dict[tuple[int, int], TagPair] = {}
    for kind, which, wait, pins in steps:
        now += wait
        tags = TagPair(2 + 2 * which, 3 + 2 * which)
        before = table
        try:
            if kind == "add":
                table = change(table, now, add=[(tags, 100)])
            elif kind == "remove":
                table = change(table, now, remove=[tags])
            elif kind == "forget":
                table = change(table, now, forget=[tags])
            else:
                table = advance(table, now, pins=pins)
        except (Conflict, NotFound, Unavailable):
            assert table is before
        assert table.epoch == before.epoch or table.epoch == before.epoch + 1
        assert (table.epoch == before.epoch) == (replace(table, epoch=0) == replace(before, epoch=0))
        ids = [vid for pair in table.pairs for vid in pair.tags.ids]
        assert len(set(ids)) == len(ids)
        for pair in table.pairs:
            assert seen.setdefault((pair.slot, pair.generation), pair.tags) == pair.tags


def test_a_cool_down_can_be_cancelled_until_it_is_closed() -> None:
    table = three()
    assert change(table, cancel=[FIRST]) is table, "it may be asked for again"
    cooling = change(table, now=10.0, remove=[FIRST])
    back = change(cooling, now=11.0, cancel=[FIRST])
    assert (state(back, FIRST), back.epoch) == (PairState.ACTIVE, cooling.epoch + 1)
    assert back.find(FIRST).generation == table.find(FIRST).generation, "its sessions keep their pins"
    assert back.placement() == table.placement()
    closed = advance(cooling, 14.1)
    with pytest.raises(Conflict, match=r"\(2, 3\) is closed: only a cool-down can be cancelled"):
        change(closed, cancel=[FIRST])


def test_an_adopted_set_keeps_what_a_rebalance_skewed() -> None:
    table = balancer.reweigh(three(), [], {0: 90, 1: 10, 2: 5})
    assert table.skewed
    found = balancer.adopted(replace(table, skewed=False), 100.0, 30.0)
    assert balancer.warmed(found, 100.0, 30.0) is found
    warming = balancer.warmed(change(three(), now=100.0, add=[(TagPair(8, 9), 100)]), 100.0, 30.0)
    assert not balancer.adopted(warming, 110.0, 30.0).skewed


def test_an_adopted_cool_down_waits_anew_whatever_the_clock_said_when_it_began() -> None:
    """The clock of the daemon before may have been another one: hours ahead, or hours behind."""
    for began in (5000.0, 0.0):
        cooling = change(three(), now=began, remove=[FIRST])
        found = balancer.adopted(cooling, 1000.0, 0.0)
        assert advance(found, 1003.9) is found, "2 D are not over"
        closed = advance(found, 1004.1)
        assert state(closed, FIRST) is PairState.CLOSED
        assert state(balancer.adopted(closed, 900.0, 0.0), SECOND) is PairState.ACTIVE
        assert state(advance(balancer.adopted(closed, 900.0, 0.0), 904.1), FIRST) is PairState.DRAINED


def test_an_adopted_slow_start_of_a_clock_that_was_ahead_goes_on() -> None:
    warming = balancer.warmed(change(three(), now=5000.0, add=[(TagPair(8, 9), 100)]), 5000.0, 30.0)
    found = balancer.adopted(warming, 100.0, 30.0)
    assert balancer.warmed(found, 131.0, 30.0).find(TagPair(8, 9)).placed == 100


PAST, RULES = TagPair(8, 9), (Rule(0, protocol=6, ports=(80, 80)),)


def passing() -> ChainTable:
    return change(three(), bypass=[PAST], rules=RULES)


def test_a_bypass_comes_with_its_rules_and_is_not_placed_on() -> None:
    table = passing()
    assert (table.epoch, table.bypass, table.designated) == (2, 3, 0)
    assert table.placement().keys() == {0, 1, 2}
    assert change(table, bypass=[PAST], rules=RULES) is table
    assert balancer.reweigh(table, [], {0: 5, 3: 500}).placement().keys() == {0, 1, 2}
    assert balancer.refuge(table, 0, {}).slot != 3
    assert from_wire(to_wire("main", table), 0.0) == replace(
        table, pairs=tuple(replace(pair, since=0.0) for pair in table.pairs)
    )


def test_what_passes_by_has_one_way_always() -> None:
    with pytest.raises(Conflict, match="has no way"):
        change(three(), rules=RULES)
    with pytest.raises(Conflict, match="has no way"):
        change(passing(), remove=[PAST])
    with pytest.raises(Conflict, match="both a bypass"):
        change(passing(), bypass=[TagPair(10, 11)])
    with pytest.raises(InvalidValue, match="has no weight"):
        balancer.reweigh(passing(), [(PAST, 7)], {})
    for request in ({"add": [(PAST, 0)]}, {"bypass": [FIRST]}):
        with pytest.raises(Conflict, match="remove it first"):
            change(passing(), **request)


def test_without_rules_all_enters_and_the_bypass_cools_down() -> None:
    table = change(passing(), remove=[PAST], rules=())
    assert (table.bypass, state(table, PAST)) == (None, PairState.COOLING)
    back = change(table, cancel=[PAST], rules=RULES)
    assert (back.bypass, back.epoch) == (3, 4)
    swapped = change(passing(), remove=[PAST], bypass=[TagPair(10, 11)])
    assert (swapped.bypass, swapped.rules) == (4, RULES)


def test_without_any_chain_what_is_no_session_passes_by() -> None:
    table = change(passing(), remove=[FIRST, SECOND, THIRD])
    assert (table.designated, table.placement()) == (3, {})
