"""Master and slave as their users see them, over data planes made of the oracle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP

from catenary import wire
from catenary.errors import CatenaryError, Conflict, Unauthorized, Unavailable
from catenary.session import Timeouts
from catenary.tags import TagPair
from experiments.chaos.plane import OraclePlane
from lb_adapter import daemon
from lb_adapter.capture import Limits
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.dataplane.base import Load, SpliceConfig, TakeOver
from lb_adapter.listing import SessionQuery
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from tests.vectors.acting import answer, tcp, to_server, with_tag
from topologies.patience import PATIENCE_S

FIRST, SECOND = {"forward": 2, "reverse": 3}, {"forward": 4, "reverse": 5}


class Pair:
    """A master that has met its slave, with two chains; `now` is in ms."""

    def __init__(self, slow_start: float = 0.0) -> None:
        self.now, self.segment, self.capacity = 1000, "main", 1000
        config = SpliceConfig("slave", "outer", "inner", None, Timeouts())
        self.slave = Slave(self._plane(), config, "main", clock=self._clock)
        # What the master asks of its slave goes through a client elsewhere; here it is the slave itself.
        self.slave.url = "here"  # type: ignore[attr-defined]
        self.start_master(slow_start)
        self.master.change(wire.Change(add=[wire.PairAdd(**FIRST)]))

    def start_master(self, slow_start: float = 0.0) -> None:
        """One with empty tables, as the first one is, or one that lost them."""
        self.plane = self._plane()
        self.master = Master(
            self.plane,
            SpliceConfig("master", "outer", "inner", 4094, Timeouts()),
            self.segment,
            self.slave,  # type: ignore[arg-type]
            slow_start=slow_start,
            clock=self._clock,
        )
        self.master.tick()

    def _plane(self) -> OraclePlane:
        return OraclePlane(lambda: self.now, Splice, self.capacity)

    def _clock(self) -> float:
        return self.now / 1000


def test_a_tag_that_contradicts_a_pin_raises_an_event_once(capsys: pytest.CaptureFixture[str]) -> None:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    splice = pair.plane.splice
    assert splice is not None
    there, back = tcp("S"), answer("SA")
    verdict, _ = splice.outer(there, pair.now)
    other = {2: 5, 4: 3}[verdict.vid]
    splice.inner(with_tag(back, other), pair.now)
    capsys.readouterr()
    pair.master.tick()
    assert "affinity mismatch" in capsys.readouterr().out
    pair.master.tick()
    assert "affinity mismatch" not in capsys.readouterr().out


def test_in_overflow_nothing_moves_what_the_hash_says() -> None:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    pair.plane.set_overflow(True)
    weights = [wire.PairAdd(**FIRST, weight=7)]
    for refused in (
        lambda: pair.master.change(wire.Change(remove=[wire.Tags(**SECOND)])),
        lambda: pair.master.rebalance(wire.Rebalance(weights=weights)),
    ):
        with pytest.raises(Conflict, match="session table of 1000 is full"):
            refused()
    assert [(p.weight, p.state.value) for p in pair.master.pairs().pairs] == [(100, "active")] * 2
    forced = pair.master.rebalance(wire.Rebalance(weights=weights, force=True))
    assert [p.weight for p in forced.pairs] == [7, 100]


def just_before_refusing(pair: Pair, patch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """The last that a packet can do before what finds no room is refused."""
    refusing = pair.plane.refusing

    @contextmanager
    def later() -> Iterator[None]:
        happens()
        with refusing():
            yield

    patch.setattr(pair.plane, "refusing", later)


def test_a_table_that_becomes_full_before_the_switch_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    just_before_refusing(pair, monkeypatch, lambda: pair.plane.set_overflow(True))
    with pytest.raises(Conflict, match="session table of 1000 is full"):
        pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    assert [p.tags.forward for p in pair.plane.adopt().pairs] == [2]
    pair.master.tick()
    assert pair.master.health().peer.connected, "a greeting told the slave that all stays as it was"
    assert [p.forward for p in pair.slave.pairs().pairs] == [2]
    forced = pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)], force=True))
    assert len(forced.pairs) == 2


def test_what_finds_no_room_during_the_switch_is_refused() -> None:
    pair = Pair()
    splice = pair.plane.splice
    assert splice is not None
    splice.configure(replace(splice.setup, capacity=1))
    pair.plane.capacity = 1
    with pair.plane.refusing():
        reasons = [splice.outer(tcp("S", port=port), pair.now)[0].reason for port in (1000, 1001)]
    assert reasons == ["to_chain", "drop_table_full"]
    assert splice.outer(tcp("S", port=1002), pair.now)[0].reason == "to_chain"


def test_overflow_does_not_end_over_what_was_placed_since_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair()
    splice = pair.plane.splice
    assert splice is not None
    pair.plane.set_overflow(True)
    pair.master.tick()
    just_before_refusing(pair, monkeypatch, lambda: splice.counts.update(pin_table_full=1))
    for expected in (True, False):
        pair.now += 10_000_000
        pair.master.tick()
        assert pair.plane.overflow() is expected
        monkeypatch.undo()


def test_a_slow_start_rests_during_overflow() -> None:
    pair = Pair(slow_start=10.0)
    pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    epoch = pair.master.pairs().epoch
    pair.plane.set_overflow(True)
    pair.now += 5000
    pair.master.tick()
    assert pair.master.pairs().epoch == epoch
    pair.plane.set_overflow(False)
    pair.now += 10_000_000
    pair.master.tick()
    pair.master.tick()
    assert pair.master.pairs().epoch > epoch
    assert set(pair.plane.adopt().placement().values()) == {("2-3", 100), ("4-5", 100)}


PAST = {"forward": 8, "reverse": 9, "weight": 0, "bypass": True}
WEB = wire.TrafficRule(entry=0, protocol=6, ports=(80, 80))


def test_rules_and_what_passes_by_outlive_a_master_that_lost_all() -> None:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**PAST)], classifier=[WEB]))
    first, mail = pair.plane.splice, to_server(TCP(sport=1000, dport=25, flags="S"))
    assert first is not None
    verdict, frame = first.outer(mail, pair.now)
    assert (verdict.vid, first.outer(tcp("S"), pair.now)[0].vid) == (8, 2)
    assert pair.master.stats().entered == [1]
    assert pair.slave._plane.splice is not None  # type: ignore[attr-defined]
    pair.slave._plane.splice.inner(frame, pair.now)  # type: ignore[attr-defined]
    pair.start_master()
    pair.now += 5000
    pair.master.tick()
    second = pair.plane.splice
    assert second is not None
    assert pair.master.pairs().classifier == [WEB]
    pair.master.change(wire.Change(classifier=[WEB.model_copy(update={"ports": (25, 25)})]))
    assert second.outer(to_server(TCP(sport=1000, dport=25, flags="A")), pair.now)[0].vid == 8, "it lives"
    assert second.outer(to_server(TCP(sport=1001, dport=25, flags="S")), pair.now)[0].vid == 2


def test_a_full_table_refuses_new_rules_as_other_chains() -> None:
    pair = Pair()
    pair.master.change(wire.Change(add=[wire.PairAdd(**PAST)], classifier=[WEB]))
    pair.plane.set_overflow(True)
    with pytest.raises(Conflict, match="live by the hash"):
        pair.master.change(wire.Change(classifier=[WEB.model_copy(update={"ports": (25, 25)})]))
    assert pair.master.change(wire.Change(classifier=[WEB])).classifier == [WEB], "no change"


def test_a_copy_that_is_cut_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = Pair()
    splice = pair.plane.splice
    assert splice is not None
    verdict, frame = splice.outer(tcp("S"), pair.now)
    assert pair.slave._plane.splice is not None  # type: ignore[attr-defined]
    pair.slave._plane.splice.inner(frame, pair.now)  # type: ignore[attr-defined]
    whole = pair.slave.pins
    monkeypatch.setattr(pair.slave, "pins", lambda since: iter([b"".join(whole(since))[:-20]]))
    pair.start_master()
    assert "in the middle" in capsys.readouterr().out
    assert "in the middle" in (pair.master.health().peer.reason or "")
    assert (next(pair.plane.export(None)).size, pair.plane.take_over()) == (0, TakeOver.HOLD)
    with pytest.raises(Unavailable, match="no session table"):
        pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    monkeypatch.setattr(pair.slave, "pins", whole)
    pair.now += 5000
    pair.master.tick()
    assert pair.plane.take_over() is TakeOver.WATCH
    assert pair.plane.splice is not None
    assert pair.plane.splice.outer(tcp("A"), pair.now)[0].vid == verdict.vid


def test_the_tick_thread_outlives_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one tick must not be the end of all: health tells of it until one succeeds."""
    pair = Pair()
    walk = pair.plane.walk
    failing, ticked = threading.Event(), threading.Event()
    failing.set()

    def broken() -> dict[int, Load]:
        ticked.set()
        if failing.is_set():
            raise BrokenPipeError(32, "Broken pipe")
        return walk()

    monkeypatch.setattr(pair.plane, "walk", broken)
    pair.master.start()
    try:
        until(lambda: pair.master.health().status == "degraded", pair.master)
        assert pair.master.health().reason == "BrokenPipeError: [Errno 32] Broken pipe"
        failing.clear()
        until(lambda: pair.master.health().status == "ok", pair.master)
        assert pair.master.health().reason is None
    finally:
        pair.master.stop(detach=True)


@pytest.mark.parametrize("call", ["handshake", "put_chain_set"])
def test_an_unforeseen_error_leaves_nothing_under_way(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    pair = Pair()
    if call == "handshake":
        restart_slave(pair)
    whole = getattr(pair.slave, call)

    def broken(message: object) -> None:
        raise ValueError("unforeseen")

    monkeypatch.setattr(pair.slave, call, broken)
    if call == "handshake":
        pair.master.tick()
        assert "ValueError: unforeseen" in (pair.master.health().peer.reason or "")
    else:
        with pytest.raises(Unavailable, match="unforeseen"):
            pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
    monkeypatch.setattr(pair.slave, call, whole)
    pair.now += 5000
    pair.master.tick()
    assert pair.master.health().peer.connected


def restart_slave(pair: Pair) -> None:
    """Another process over the same data plane, at the same address."""
    plane = pair.slave._plane
    fresh = Slave(plane, SpliceConfig("slave", "outer", "inner", None, Timeouts()), "main", clock=pair._clock)
    fresh.url = "here"  # type: ignore[attr-defined]
    pair.slave = pair.master._peer = fresh  # type: ignore[assignment]


def test_what_the_slave_refuses_is_no_refusal_to_the_management_system() -> None:
    """It restarted and waits for a greeting: the same call succeeds after the next tick."""
    pair = Pair()
    for call in (
        lambda: pair.master.change(wire.Change(add=[wire.PairAdd(**SECOND)])),
        lambda: pair.master.rebalance(wire.Rebalance(move_idle=60)),
    ):
        restart_slave(pair)
        with pytest.raises(Unavailable, match="no handshake yet"):
            call()
        pair.master.tick()
        call()
    with pytest.raises(Conflict, match="expected epoch 1"):
        pair.master.change(wire.Change(expect_epoch=1))


def test_another_segments_slave_is_not_taken_over() -> None:
    """A wrong --peer: its chains and sessions must carry nothing here, not for a moment."""
    pair = Pair()
    there, pair.segment = pair.plane.adopt(), "other"
    pair.start_master()
    for _ in range(3):
        pair.now += 5000
        pair.master.tick()
        assert pair.plane.take_over() is TakeOver.HOLD
        assert pair.plane.adopt().pairs == ()
    assert "is the slave of segment 'main', no slave of 'other'" in (pair.master.health().peer.reason or "")
    pair.segment = "main"
    pair.start_master()
    pair.now += 5000
    pair.master.tick()
    assert pair.plane.take_over() is TakeOver.WATCH
    assert [p.tags for p in pair.plane.adopt().pairs] == [p.tags for p in there.pairs]


def test_nothing_is_placed_before_the_slave_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    whole = pair.slave.handshake

    def refuse(message: object) -> None:
        assert pair.plane.take_over() is TakeOver.HOLD
        raise Conflict("of another pair")

    monkeypatch.setattr(pair.slave, "handshake", refuse)
    pair.start_master()
    for _ in range(3):
        pair.now += 5000
        pair.master.tick()
        assert pair.plane.take_over() is TakeOver.HOLD
    monkeypatch.setattr(pair.slave, "handshake", whole)
    pair.master.tick()
    assert pair.plane.take_over() is TakeOver.WATCH
    assert pair.master.health().status == "ok"


def test_sessions_that_a_smaller_table_has_no_room_for_are_told_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A take-over must not lose them without a word, whatever their protocol."""
    pair = Pair()
    assert pair.master.stats().counters["left_out"] == 0
    for port in range(1, 8):
        splice, layer = pair.plane.splice, UDP(sport=port, dport=53)
        assert splice is not None
        _, frame = splice.outer(to_server(layer), pair.now)
        pair.slave._plane.splice.inner(frame, pair.now)  # type: ignore[attr-defined]
    assert pair.slave.stats().states["udp"] == 7
    pair.capacity = 5
    pair.now += 1000
    capsys.readouterr()
    pair.start_master()
    pair.now += 5000
    pair.master.tick()
    said = capsys.readouterr().out
    assert "sessions left out" in said
    assert "a copy of the slave's larger table would not fit" in said
    assert pair.plane.take_over() is TakeOver.WATCH
    assert next(pair.plane.export(None)).size == 5
    assert pair.master.stats().counters["left_out"] == 2


@pytest.mark.parametrize("error", [Unauthorized("no token"), CatenaryError("HTTP 500"), Unavailable("away")])
def test_a_slave_that_gives_no_statistics_keeps_back_nobody_elses(
    monkeypatch: pytest.MonkeyPatch, error: CatenaryError
) -> None:
    pair = Pair()

    def refuse() -> None:
        raise error

    monkeypatch.setattr(pair.slave, "stats", refuse)
    stats = pair.master.stats()
    assert (stats.role, stats.peer) == ("master", None)


def test_who_asks_a_master_does_not_wait_for_a_slave_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    before = pair.master.stats()
    assert before.peer is not None
    assert (before.health.role, before.peer.health.role) == ("master", "slave")

    def silent() -> None:
        raise Unavailable("no answer within 2 s")

    monkeypatch.setattr(pair.slave, "health", silent)
    pair.master.tick()
    monkeypatch.setattr(pair.slave, "stats", lambda: pytest.fail("it takes seconds"))
    assert pair.master.stats().peer is None


class Comparing:
    """Equal to nothing; whoever compares with it meets the next chain set."""

    def __init__(self, meet: Callable[[], None]) -> None:
        self._meet = meet

    def __eq__(self, other: object) -> bool:
        self._meet()
        return False

    __hash__ = None  # type: ignore[assignment]


def test_sessions_are_listed_while_the_chain_set_changes() -> None:
    """The list is read beside the tick that remembers new tags."""
    pair = Pair()
    listing, table = pair.master._listing, pair.master.table
    chains = count(5)

    def meet() -> None:
        listing.remember(replace(table, pairs=(replace(table.pairs[0], slot=next(chains)),)))

    tags: Any = Comparing(meet)
    assert pair.master.sessions(SessionQuery(tags=tags)) == ([], None)
    assert next(chains) > 5


def test_captures_are_bounded_though_many_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    making: list[object] = []

    class Slow:
        closed = False

        def __init__(self, *arguments: object) -> None:
            making.append(self)
            deadline = time.monotonic() + 0.02
            while len(making) <= daemon.CAPTURES and time.monotonic() < deadline:
                time.sleep(0.001)

    monkeypatch.setattr(daemon, "Capture", Slow)
    limits = Limits(1.0, 1)
    with ThreadPoolExecutor(2 * daemon.CAPTURES) as pool:
        asked = [
            pool.submit(pair.master.capture, TagPair(2, 3), None, limits) for _ in range(2 * daemon.CAPTURES)
        ]
        faults = [future.exception() for future in asked]
    assert [fault for fault in faults if fault and not isinstance(fault, Conflict)] == []
    assert faults.count(None) == daemon.CAPTURES == len(making)


def until(reached: Callable[[], bool], master: Master) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline
        master._wake.set()
        time.sleep(0.005)
