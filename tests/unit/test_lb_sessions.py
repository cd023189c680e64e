"""Orders about sessions at a pair of daemons over data planes made of the oracle."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import structlog

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict, NotFound, Unavailable
from catenary.session import Timeouts
from catenary.tags import TagPair
from lb_adapter.core.oracle_pin import State
from lb_adapter.peering import PATIENCE
from tests.unit.test_lb_master import FIRST, SECOND, Pair
from tests.vectors.acting import answer, key_of, said, tcp, with_tag
from topologies.patience import PATIENCE_S

ONE, TWO = TagPair(2, 3), TagPair(4, 5)
KEY = key_of(tcp("S")).text
TIMES = Timeouts()


class Opened(Pair):
    """One session is established on the first chain; the second chain is the only one that takes more."""

    def __init__(self) -> None:
        super().__init__()
        self.slave = self.master._peer
        self.slave_plane = self.slave._plane  # type: ignore[attr-defined]
        self.through(tcp("S"), answer("SA"))
        self.through(tcp("A"), answer("A"))
        self.master.change(wire.Change(add=[wire.PairAdd(**SECOND)]))
        self.master.rebalance(wire.Rebalance(weights=[wire.PairAdd(**FIRST, weight=0)]))

    def through(self, there: bytes, back: bytes) -> tuple[str, str]:
        """A packet each way, by the tags that come of it; what the load balancers said to each."""
        near, far = self.plane.splice, self.slave_plane.splice
        assert near is not None
        verdict, _ = near.outer(there, self.now)
        if verdict.port == "inner":
            far.inner(with_tag(there, verdict.vid), self.now)
        returned, _ = far.outer(back, self.now)
        if returned.reason in ("ask_sent", "hint_sent"):
            answered, _ = near.inner(with_tag(back, returned.vid), self.now)
            returned, _ = far.inner(with_tag(back, answered.vid), self.now)
        if returned.port == "inner":
            near.inner(with_tag(back, returned.vid), self.now)
        return verdict.reason, returned.reason

    def calls(self) -> list[str]:
        """What is done to the data planes from now on, as it is done."""
        done: list[str] = []
        for name, plane in (("master", self.plane), ("slave", self.slave_plane)):

            def sweep(order: object, name: str = name, original: object = plane.sweep) -> object:
                state = self.master.pairs().pairs[0].state
                done.append(f"{name} while {state}")
                return original(order)  # type: ignore[operator]

            plane.sweep = sweep
        return done

    def idle(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@pytest.fixture
def pair() -> Opened:
    return Opened()


def test_the_slave_is_first_and_the_pair_is_closed_before(pair: Opened) -> None:
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    done = pair.calls()
    ended = pair.master.end_sessions(ONE, "reset")
    assert done == ["slave while closed", "master while closed"]
    assert (ended.state, ended.sessions) == (PairState.CLOSED, 0)
    assert pair.through(tcp("A"), answer("A")) == ("session_reset", "session_reset")


def test_an_active_pair_is_removed_before(pair: Opened) -> None:
    with pytest.raises(Conflict, match=r"tag pair \(2, 3\) is active"):
        pair.master.end_sessions(ONE, "reset")


def test_what_the_slave_did_not_hear_of_is_not_done(pair: Opened) -> None:
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))

    def lost(order: wire.SweepOrder) -> wire.Swept:
        raise Unavailable("the call is lost")

    heard, pair.slave.sweep = pair.slave.sweep, lost  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        pair.master.end_sessions(ONE, "reset")
    assert pair.through(tcp("A"), answer("A")) == ("to_chain", "to_chain"), "closed, its sessions live"
    pair.slave.sweep = heard  # type: ignore[method-assign]
    assert pair.master.end_sessions(ONE, "reset").sessions == 0


def test_a_tombstone_holds_no_chain_up(pair: Opened) -> None:
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    pair.master.end_sessions(ONE, "reset")
    for _ in range(3):
        pair.idle(2 * TIMES.transit + 0.1)
        pair.master.tick()
    assert pair.master.activity(ONE).state is PairState.DRAINED
    assert said(pair.plane.splice.outer(tcp("A"), pair.now))[2] == "session_reset"  # type: ignore[union-attr]


def test_moved_sessions_are_not_brought_back_by_what_is_under_way(pair: Opened) -> None:
    pair.master.change(wire.Change(remove=[wire.Tags(**FIRST)]))
    pair.master.end_sessions(ONE, "rebalance")
    near = pair.plane.splice
    assert near is not None
    assert said(near.inner(answer("A", 3), pair.now)) == ("outer", 0, "to_outer")
    assert near.counts["closed_not_learned"] == 1
    far = pair.slave_plane.splice
    assert far is not None
    far.inner(with_tag(tcp("A"), 2), pair.now)
    assert pair.through(tcp("A"), answer("A")) == ("to_chain", "to_chain")
    assert said(near.outer(tcp("A"), pair.now)) == ("inner", 4, "to_chain")
    assert said(far.outer(answer("A"), pair.now)) == ("inner", 5, "to_chain")


def test_tombstones_make_room_for_the_living(pair: Opened) -> None:
    """They count before the table is full; taken away, they are no overflow."""
    pair.plane.capacity = pair.slave_plane.capacity = 10
    pair.master.end_session(wire.SessionOrder(key=KEY, mode="reset"))
    near, far = pair.plane.splice, pair.slave_plane.splice
    assert near is not None
    assert far is not None
    for port in range(2000, 2009):
        pair.through(tcp("S", port=port), answer("SA", port=port))
    pair.master.tick()
    pair.slave.tick()  # type: ignore[attr-defined]
    for splice in (near, far):
        assert len(splice.pins) == 9
        assert State.RESET not in {pin.state for pin in splice.pins.values()}
    assert not pair.plane.overflow()
    assert near.counts["evicted"] == 0


def test_one_session_is_moved_and_only_that(pair: Opened) -> None:
    view = pair.master.end_session(wire.SessionOrder(key=KEY, mode="move"))
    assert (view.state, view.tags) == ("established", wire.Tags(**SECOND))
    assert said(pair.plane.splice.outer(tcp("A"), pair.now)) == ("inner", 4, "to_chain")  # type: ignore[union-attr]


def test_a_move_raises_no_alarm(pair: Opened) -> None:
    """What was under way contradicts the pin; later on that is an alarm again."""

    def logged() -> list[str]:
        with structlog.testing.capture_logs() as logs:
            pair.master.tick()
        return [entry["event"] for entry in logs if entry["log_level"] in ("info", "error")]

    pair.master.end_session(wire.SessionOrder(key=KEY, mode="move"))
    assert logged() == []
    near = pair.plane.splice
    assert near is not None
    near.inner(answer("A", 3), pair.now)
    assert logged() == ["packets of moved sessions were under way"]
    pair.idle(TIMES.lease + 2 * TIMES.transit + 0.1)
    near.inner(answer("A", 3), pair.now)
    assert logged() == ["affinity mismatch"]


def test_a_reset_may_be_asked_for_twice(pair: Opened) -> None:
    for _ in range(2):
        assert pair.master.end_session(wire.SessionOrder(key=KEY, mode="reset")).state == "reset"
    assert pair.plane.splice.counts["ordered_reset"] == 1  # type: ignore[union-attr]


def test_a_session_is_told_while_the_table_is_walked(pair: Opened) -> None:
    begun, told, over = threading.Event(), threading.Event(), threading.Event()
    walk = pair.plane.walk

    def long_walk() -> object:
        begun.set()
        told.wait(10)
        over.set()
        return walk()

    pair.plane.walk = long_walk  # type: ignore[method-assign, assignment]
    tick = threading.Thread(target=pair.master.tick)
    tick.start()
    begun.wait(PATIENCE_S)
    assert pair.master.session(KEY).state == "established"
    waited = over.is_set()
    told.set()
    tick.join()
    assert not waited


def test_sessions_that_cant_be_ended(pair: Opened) -> None:
    with pytest.raises(NotFound, match="is not known here"):
        pair.master.session("tcp 10.0.0.9:1 10.0.0.2:80")
    pair.master.change(wire.Change(remove=[wire.Tags(**SECOND)]))
    with pytest.raises(Conflict, match="no other chain takes sessions"):
        pair.master.end_session(wire.SessionOrder(key=KEY, mode="move"))
    pair.master._config = replace(pair.master._config, affinity="client")
    with pytest.raises(Conflict, match="keeps sessions together by client"):
        pair.master.session(KEY)


def test_an_order_that_comes_again_ends_nothing(pair: Opened) -> None:
    """The connection that it ended is over; on its key is the next one, which nobody ordered to end."""
    sent: list[wire.SweepOrder] = []
    sweep = pair.slave.sweep
    pair.slave.sweep = lambda order: sent.append(order) or sweep(order)  # type: ignore[method-assign, func-returns-value]
    pair.master.end_session(wire.SessionOrder(key=KEY, mode="reset"))
    pair.idle(2 * TIMES.transit + 0.1)
    pair.through(tcp("S"), answer("SA"))
    pair.through(tcp("A"), answer("A"))
    with pytest.raises(Conflict, match="came twice"):
        sweep(sent[0])
    assert pair.through(tcp("A"), answer("A")) == ("to_chain", "to_chain")


def test_an_order_that_its_master_gave_up_ends_nothing_later(pair: Opened) -> None:
    """A slave that was stopped reads it when it goes on: nobody ended the session at the master."""
    sent: list[wire.SweepOrder] = []
    sweep = pair.slave.sweep

    def unanswered(order: wire.SweepOrder) -> wire.Swept:
        sent.append(order)
        raise Unavailable("timed out")

    pair.slave.sweep = unanswered  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        pair.master.end_session(wire.SessionOrder(key=KEY, mode="reset"))
    pair.idle(PATIENCE + 0.1)
    with pytest.raises(Conflict, match=r"came after 2\.1 s, given up by its master"):
        sweep(sent[0])
    assert pair.through(tcp("A"), answer("A")) == ("to_chain", "to_chain")
    pair.slave.sweep = sweep  # type: ignore[method-assign]
    assert pair.master.end_session(wire.SessionOrder(key=KEY, mode="reset")).state == "reset"


def test_what_the_slave_refuses_as_late_may_be_ordered_again(pair: Opened) -> None:
    """Whoever ordered it hears of it as of something that may succeed later, and nothing is done here."""
    nonce = pair.slave.nonce
    pair.slave.nonce = lambda request: wire.Nonce(nonce="stale")  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="the slave at here refused: order stale came twice"):
        pair.master.end_session(wire.SessionOrder(key=KEY, mode="reset"))
    assert pair.master.session(KEY).state == "established"
    pair.slave.nonce = nonce  # type: ignore[method-assign]
    assert pair.master.end_session(wire.SessionOrder(key=KEY, mode="reset")).state == "reset"


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_no_session_is_let_go_before_its_lease_has_lapsed(pair: Opened, seconds: float) -> None:
    bound = TIMES.lease + 2 * TIMES.transit
    pair.idle(bound - 0.001)
    assert pair.master.rebalance(wire.Rebalance(move_idle=seconds)).moved == 0
    pair.idle(0.001)
    assert pair.master.rebalance(wire.Rebalance(move_idle=seconds)).moved == 1
    assert pair.slave_plane.splice.pins == {}, "no hint brings it back"
    assert pair.through(tcp("A"), answer("A")) == ("to_chain", "to_chain")
    assert pair.master.session(KEY).tags == wire.Tags(**SECOND)


def test_a_rebalance_is_for_new_sessions_unless_idle_ones_are_asked_for(pair: Opened) -> None:
    first = pair.master.session(KEY).tags
    pair.idle(600)
    weights = [wire.PairAdd(**FIRST, weight=0), wire.PairAdd(**SECOND)]
    for request in (wire.Rebalance(), wire.Rebalance(weights=weights)):
        assert pair.master.rebalance(request).moved == 0
        assert pair.through(tcp("A"), answer("A")) == ("to_chain", "to_chain")
        assert pair.master.session(KEY).tags == first == wire.Tags(**FIRST)


def test_no_session_is_let_go_before_its_time(pair: Opened) -> None:
    pair.idle(299.9)
    assert pair.master.rebalance(wire.Rebalance(move_idle=300)).moved == 0
    pair.through(tcp("A"), answer("A"))
    pair.idle(0.2)
    assert pair.master.rebalance(wire.Rebalance(move_idle=300)).moved == 0
    (pin,) = pair.plane.splice.pins.values()  # type: ignore[union-attr]
    assert pin.state is State.ESTABLISHED


def test_a_hint_that_is_younger_than_its_pin_is_let_go_too(pair: Opened) -> None:
    """The slave saw the last packet a moment later; kept, its hint would bring the session back."""
    near, far = pair.plane.splice, pair.slave_plane.splice
    assert near is not None
    verdict, _ = near.outer(tcp("A"), pair.now)
    pair.idle(TIMES.transit)
    far.inner(with_tag(tcp("A"), verdict.vid), pair.now)
    pair.idle(300 - TIMES.transit)
    assert pair.master.rebalance(wire.Rebalance(move_idle=300)).moved == 1
    assert far.pins == {}


def test_what_goes_idle_during_the_call_to_the_slave_is_kept(pair: Opened) -> None:
    slow = pair.slave.sweep

    def sweep(order: wire.SweepOrder) -> wire.Swept:
        done = slow(order)
        pair.idle(TIMES.transit + 1)
        return done

    pair.slave.sweep = sweep  # type: ignore[method-assign]
    pair.idle(300 - TIMES.transit - 0.5)
    assert pair.master.rebalance(wire.Rebalance(move_idle=300)).moved == 0
    assert pair.master.rebalance(wire.Rebalance(move_idle=300)).moved == 1
    assert pair.slave_plane.splice.pins == {}


def test_a_pin_whose_chain_is_forgotten_has_no_tags(pair: Opened) -> None:
    """The chain set goes first, the walk takes the pin: whoever asks in between is answered all the same."""
    leader = pair.master._leader
    pair.master._leader = replace(leader, table=replace(leader.table, pairs=()))
    assert pair.master.session(KEY).tags is None
