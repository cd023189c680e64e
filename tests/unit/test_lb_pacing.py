"""How often the session table is walked: by what a walk takes, and never beside a copy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catenary import wire
from catenary.chain import PairState
from catenary.tags import TagPair
from experiments.chaos.plane import OraclePlane
from lb_adapter import peering, records, talk
from lb_adapter.dataplane.base import Load
from lb_adapter.pacing import ALWAYS, HASTE, LONG, SHARE, Pace
from lb_adapter.records import PinRecords
from tests.unit.test_lb_master import FIRST, Pair
from tests.vectors.acting import tcp


@given(
    st.lists(st.floats(0.01, 3), min_size=1, max_size=9), st.sampled_from([SHARE, HASTE]), st.floats(0.1, 1)
)
def test_walks_take_no_more_than_their_share(took: list[float], share: float, tick: float) -> None:
    pace, now, walking = Pace(), 0.0, 0.0
    for walk in took:
        while not pace.due(now, share):
            now += tick
        pace = pace.walked(now, now + walk)
        now, walking = now + walk, walking + walk
    now += pace.pause(share)
    assert walking <= share * now * (1 + 1e-9)


def test_a_table_that_is_small_is_walked_at_each_tick() -> None:
    assert Pace().due(0.0, SHARE)
    assert Pace().walked(5.0, 5.03).due(5.13, SHARE)


def test_with_a_million_sessions_a_chain_is_known_to_be_drained_within_a_second() -> None:
    """The walk that has just begun misses it, the next one counts none, and the slave counts its leases."""
    walk, tick, told = 0.2, 0.1, 0.1
    assert walk + Pace().walked(0.0, walk).pause(HASTE) + tick + walk + walk + told <= 1.0


def test_where_room_is_wanted_at_once_the_next_walk_waits_for_nothing() -> None:
    assert Pace().walked(0.0, 8.0).due(8.0, ALWAYS)


def test_no_walk_beside_a_copy_nor_while_it_is_taken_in() -> None:
    pace = Pace()
    for now in (10.5, 12.0, 14.0):
        pace = pace.copying(10.0, now)
        assert not pace.due(now + 0.9, ALWAYS)
    assert not pace.due(21.9, SHARE)
    assert pace.due(22.0, SHARE)


# --- the daemons


class Slow:
    """Has walks of a plane take time, and counts them."""

    def __init__(self, pair: Pair, plane: object, patch: pytest.MonkeyPatch, took_ms: int) -> None:
        self.walks, self._walk = 0, plane.walk  # type: ignore[attr-defined]
        self._pair, self._took = pair, took_ms
        patch.setattr(plane, "walk", self.walk)

    def walk(self) -> dict[int, Load]:
        self.walks += 1
        self._pair.now += self._took
        found: dict[int, Load] = self._walk()
        return found


def test_ticks_go_on_while_walks_keep_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    slow = Slow(pair, pair.plane, monkeypatch, 2000)
    begun = pair.now
    while pair.now < begun + 80_000:
        pair.master.tick()
        pair.now += 1000
    assert 9 <= slow.walks <= 10


def test_a_chain_is_drained_by_counts_of_its_own_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last walk was before its last session: a tick without a walk decides nothing by that."""
    pair = Pair()
    Slow(pair, pair.plane, monkeypatch, 2000)
    pair.master.tick()
    assert pair.plane.splice is not None
    pair.plane.splice.outer(tcp("S"), pair.now)
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    for _ in range(3):
        pair.now += 100
        pair.master.tick()
    assert pair.master.table.find(TagPair(2, 3)).state is PairState.COOLING
    leader = peering.Leader("m", pair.master.table, 2.0, 100.0, reason=None, slave="s")
    assert peering.step(leader, talk.Ticked(None), 1e6)[1] == (talk.Look(),)


def test_who_asks_for_statistics_has_no_long_walk_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    slow = Slow(pair, pair.plane, monkeypatch, round(1000 * LONG))
    pair.master.tick()
    pair.master.stats()
    assert slow.walks == 2, "it is not long yet"
    monkeypatch.setattr(slow, "_took", round(1000 * LONG) + 1)
    pair.now += 1000
    pair.master.tick()
    walks = slow.walks
    pair.master.stats()
    assert slow.walks == walks


def test_a_slave_counts_leases_when_a_chain_may_be_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    slow = Slow(pair, pair.slave._plane, monkeypatch, 2000)
    pair.slave.tick()
    pair.slave.stats()
    assert slow.walks == 1
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    while pair.slave.table.find(TagPair(2, 3)).state is PairState.COOLING:
        pair.now += 1000
        pair.master.tick()
    walks = slow.walks
    pair.slave.stats()
    assert slow.walks == walks + 1


def test_a_copy_waits_for_no_walk_and_none_begins_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    slow = Slow(pair, pair.slave._plane, monkeypatch, 2000)
    batches = [records.none()] * 3

    def export(since_ms: int | None) -> Iterator[PinRecords]:
        for batch in batches:
            pair.now += 2500
            yield batch

    monkeypatch.setattr(pair.slave._plane, "export", export)
    stream = pair.slave.pins(None)
    chunks = []
    for chunk in stream:
        chunks.append(chunk)
        pair.slave.tick()
    assert slow.walks == 1, "that of the tick before the first batch"
    assert len(chunks) == 1 + len(batches) + 1, "a sign of life for each batch that has nothing"
    assert not len(records.read(chunks, protocol=wire.PROTOCOL).records)
    pair.now += 15_001
    pair.slave.tick()
    assert slow.walks == 2


def test_what_has_expired_is_not_copied() -> None:
    """A copied pin is livelier than it was: it would come back to life."""
    pair = Pair()
    splice = pair.plane.splice
    assert splice is not None
    _, frame = splice.outer(tcp("S"), pair.now)
    slave = pair.slave._plane.splice  # type: ignore[attr-defined]
    slave.inner(frame, pair.now)
    (copied,) = records.read(pair.slave.pins(None), protocol=wire.PROTOCOL).records
    assert copied is not None
    pair.now += 10**7
    assert not len(records.read(pair.slave.pins(None), protocol=wire.PROTOCOL).records)


def test_who_asks_is_told_of_what_was_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last walk, a long one, was over the table as it was before the copy: empty."""
    pair = Pair()
    assert pair.plane.splice is not None
    _, frame = pair.plane.splice.outer(tcp("S"), pair.now)
    pair.slave._plane.splice.inner(frame, pair.now)  # type: ignore[attr-defined]
    walk = OraclePlane.walk

    def slow(plane: OraclePlane) -> dict[int, Load]:
        pair.now += round(1000 * LONG) + 1
        return walk(plane)

    monkeypatch.setattr(OraclePlane, "walk", slow)
    pair.start_master()
    assert pair.master.stats().pins == 1
