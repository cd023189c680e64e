"""The master's side of the pair's protocol, a pure state machine: what was said in, what to do out.

Any message may be lost, doubled, late or out of order, and either side may restart at any point. What makes
that harmless:

- An epoch stands for one chain set for ever: one that was sent and not confirmed is never used again.
- Only the master's present process is heard. A slave (`following`) obeys who greeted it last, and a new
  process begins with an epoch above its slave's, so that all that an earlier one sent is old.
- An order about sessions bears a nonce that the slave gave for it: it is obeyed once, and never late.
- The slave first, then the master's own data plane. What either could not do is done again, by a greeting
  that carries all there is to know.

`now` is seconds of the data plane's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from catenary.chain import PairState
from lb_adapter import balancer
from lb_adapter.balancer import ChainTable
from lb_adapter.dataplane.base import TakeOver
from lb_adapter.talk import (
    Accepted,
    Act,
    Adopt,
    Adopted,
    Chains,
    Copied,
    Count,
    Counted,
    Exchange,
    Exchanged,
    Failed,
    FetchChains,
    FetchPins,
    Greet,
    Look,
    Propose,
    Said,
    Seen,
    SetTakeOver,
    Tell,
    Ticked,
)

PACE, SHARE = 0.5, 0.1
"""Keys are exchanged once in so many seconds at most, new ones for no more than this share of the time."""
PATIENCE = 2.0
"""s that a master waits for its slave. An order that it has given up is not carried out any more."""

AHEAD = 1024
"""Epochs that one side may be ahead of the other: lost messages make it a few; more is another pair's."""
_FOREIGN = "it may be another pair's; `catenary lb detach` there makes it forget"


@dataclass(frozen=True)
class Leader:
    """What a master knows of its pair.

    `table` is in force in its data plane; `proposed` is under way, to the slave and then to the data plane,
    there even if that moves what lives by the hash when it is `forced`.
    `seen` is the slave's process as it was last seen, `slave` the one that follows, `reason` why there is
    none. Since `hold` nothing is placed, for want of a session table; its first copy was begun at
    `copied_ms`. Since `watch` it is complete, and the slave follows. `exchanged` tells how far this slave and
    we know each other's keys, if chains rewrite them; from `exchange_at` on it is time for the next exchange.
    `term` counts how often a standby took the master's place, `slave_term` the slave's. A standby has all
    that was in the table of the master before it at `since`: that is its first copy.
    """

    instance: str
    table: ChainTable
    transit: float
    longest: float
    """T of the pin that lives longest, s."""
    rewrites: bool = False
    term: int = 0
    slave_term: int = 0
    since: float | None = None
    proposed: ChainTable | None = None
    forced: bool = False
    seen: str = ""
    slave: str | None = None
    reason: str | None = "no handshake yet"
    hold: float | None = None
    copied_ms: int | None = None
    watch: float | None = None
    exchanging: float | None = None
    exchanged: Exchanged | None = None
    exchange_at: float = 0.0

    @property
    def connected(self) -> bool:
        return self.reason is None

    @property
    def busy(self) -> bool:
        """Is there something that should not wait for long?"""
        return not self.connected or self.table.cooling_down()


Step = tuple[Leader, tuple[Act, ...]]
_TICK_MS = 20
"""Clocks go in steps of a tick: what was written as a copy began may carry the one before."""


def step(leader: Leader, said: Said, now: float) -> Step:
    """The next state of a master, and what it is to do, in this order."""
    match said:
        case Ticked():
            return _ticked(leader, said.pins, now)
        case Seen():
            return _seen(leader, said, now)
        case Chains():
            return _chains(leader, said.table)
        case Copied():
            return _copied(leader, said, now)
        case Exchanged():
            return _exchanged(leader, said, now), ()
        case Accepted():
            if leader.proposed is None or said.epoch != leader.proposed.epoch:
                return leader, ()  # the late answer to something that was given up
            return replace(leader, slave=said.slave), (Adopt(leader.proposed, leader.forced),)
        case Adopted():
            return _adopted(leader, now)
        case Counted():
            return _counted(leader, said, now)
        case Propose():
            return replace(leader, proposed=said.table, forced=said.forced), (Tell(said.table),)
        case Failed():
            return _failed(leader, said.reason), ()


def _ticked(leader: Leader, pins: Mapping[int, int] | None, now: float) -> Step:
    acts: tuple[Act, ...] = (Look(),)
    if leader.watch is not None and now - leader.watch > leader.longest:
        leader, acts = replace(leader, watch=None), (SetTakeOver(TakeOver.NONE), *acts)
    if leader.connected and leader.table.cooling_down() and pins is not None:
        if any(pair.state is PairState.CLOSED for pair in leader.table.pairs):
            return leader, (*acts, Count())
        leader, more = _advanced(leader, pins, {}, now)
        return leader, (*more, *acts)
    return leader, acts


def _seen(leader: Leader, seen: Seen, now: float) -> Step:
    own = leader.table.epoch
    if leader.proposed is not None:
        return leader, ()
    leader = _met(leader, seen)
    if leader.hold is not None and seen.epoch > own:  # we have no chain set, or not the present one
        return replace(leader, table=ChainTable(), copied_ms=None), (FetchChains(),)
    if leader.hold is not None and seen.epoch:
        if leader.copied_ms is None and leader.since is not None:
            since_ms = seen.clock_ms - round(1000 * (now - leader.since))
            leader = replace(leader, copied_ms=since_ms & 0xFFFFFFFF)
        return _take_over(leader, now)
    if leader.hold is not None:  # there is nothing to be copied; what a standby knows is under way for D
        if own and now - leader.hold <= leader.transit:
            return leader, ()
        leader = replace(leader, hold=None)
        return _greet(leader, seen.epoch, SetTakeOver(TakeOver.NONE))
    if own and seen.epoch > own + AHEAD:
        return _failed(leader, f"the slave says epoch {seen.epoch}, the present one is {own}: {_FOREIGN}"), ()
    same = (seen.slave, seen.master, seen.epoch) == (leader.slave, leader.instance, own)
    if leader.connected and same:
        return _exchange(leader, now)
    return _greet(leader, seen.epoch)


def _met(leader: Leader, seen: Seen) -> Leader:
    """A copy of another process's table may be of another machine's, by another clock."""
    same = seen.slave == leader.seen
    return replace(
        leader,
        seen=seen.slave,
        slave_term=max(leader.slave_term, seen.slave_term),
        copied_ms=leader.copied_ms if same else None,
    )


def _greet(leader: Leader, theirs: int, *before: Act) -> Step:
    """With an epoch above all that the slave ever took from somebody else."""
    own = leader.table.epoch
    proposed = replace(leader.table, epoch=own if own > theirs else theirs + 1)
    # Whoever is greeted may have lost all keys.
    leader = replace(leader, proposed=proposed, exchanging=None, exchanged=None, exchange_at=0.0)
    return leader, (*before, Greet(leader.seen, proposed))


def _exchange(leader: Leader, now: float) -> Step:
    """Keys of chains that rewrite are known at one side only: the other one keeps them for it."""
    if not leader.rewrites or now < leader.exchange_at:
        return leader, ()
    last = leader.exchanged
    if last is None:
        act = Exchange(None, None, now)
    else:
        act = Exchange(last.theirs_ms - _TICK_MS, last.ours_ms - _TICK_MS, now)
    return replace(leader, exchanging=now, exchange_at=now + PACE), (act,)


def _exchanged(leader: Leader, exchanged: Exchanged, now: float) -> Leader:
    if exchanged.begun != leader.exchanging:
        return leader  # one that was given up
    # All of them go once, however long it takes: what came meanwhile must not wait for ten times as long.
    took = 0.0 if leader.exchanged is None else now - exchanged.begun
    due = exchanged.begun + max(PACE, took / SHARE)
    return replace(leader, exchanging=None, exchanged=exchanged, exchange_at=due)


def _take_over(leader: Leader, now: float) -> Step:
    """Rule 8: after the slave's chain set its pins; a second time what was still under way at the first.

    Whatever the lost table let into a chain has come out of it D after the hold began, and taught the slave.
    Then it is greeted, and the hold ends when it follows: one that refuses may belong to another pair, or
    lease by other timeouts for longer than pins are held here.
    """
    if leader.copied_ms is None:
        return leader, (FetchPins(None),)
    if leader.hold is not None and now - leader.hold > leader.transit:
        return leader, (FetchPins(leader.copied_ms - _TICK_MS),)
    return leader, ()


def _chains(leader: Leader, table: ChainTable) -> Step:
    if not _without_chains(leader):
        return leader, ()
    # Whatever found no room in the table that was lost: it went with it.
    return replace(leader, proposed=table), (Adopt(table, forced=True),)


def _without_chains(leader: Leader) -> bool:
    """Not even the slave's chain set is in force here."""
    return leader.hold is not None and not leader.table.epoch


def _copied(leader: Leader, copied: Copied, now: float) -> Step:
    if leader.hold is None or leader.proposed is not None:
        return leader, ()
    if leader.copied_ms is None and copied.since_ms is None:
        return _take_over(replace(leader, copied_ms=copied.begun_ms), now)
    if leader.copied_ms is not None and copied.since_ms == leader.copied_ms - _TICK_MS:
        return _greet(leader, leader.table.epoch)
    return leader, ()  # of a copy that was given up


def _adopted(leader: Leader, now: float) -> Step:
    if leader.proposed is None:
        return leader, ()
    copying = _without_chains(leader)
    leader = replace(leader, table=leader.proposed, proposed=None, forced=False)
    if copying:
        return leader, (FetchPins(None),)
    leader = replace(leader, reason=None)
    if leader.hold is None:
        return leader, ()
    return replace(leader, hold=None, copied_ms=None, watch=now), (SetTakeOver(TakeOver.WATCH),)


def _counted(leader: Leader, counted: Counted, now: float) -> Step:
    """Generations make stale counts harmless only if they are not taken for those of another epoch."""
    if not leader.connected or leader.proposed is not None or counted.epoch != leader.table.epoch:
        return leader, ()
    return _advanced(leader, counted.pins, counted.leases, now)


def _advanced(leader: Leader, pins: Mapping[int, int], leases: Mapping[int, int], now: float) -> Step:
    table = balancer.advance(leader.table, pins, leases, now, leader.transit)
    if table == leader.table:
        return leader, ()
    return replace(leader, proposed=table), (Tell(table),)


def _failed(leader: Leader, reason: str) -> Leader:
    """The slave may or may not have it: that epoch is used up, and a greeting will tell."""
    table, proposed = leader.table, leader.proposed
    if proposed is not None and not _without_chains(leader):
        greeting = replace(proposed, epoch=table.epoch) == table
        table = replace(table, epoch=proposed.epoch if greeting else proposed.epoch + 1)
    return replace(
        leader, table=table, proposed=None, forced=False, slave=None, reason=reason, copied_ms=None
    )
