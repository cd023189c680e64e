"""Orders about sessions: end those of a chain, end one, let idle ones go.

The slave is always first: what it still knew would bring a session back to the chain that it leaves. In a
reset it takes a tombstone, so that the server learns there what the client learns at the master.
"""

from __future__ import annotations

import math
import threading
from abc import abstractmethod

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict, NotFound
from catenary.session import SessionKey
from catenary.tags import TagPair
from lb_adapter import balancer, lives
from lb_adapter.balancer import ChainTable
from lb_adapter.core.setup import Order
from lb_adapter.daemon import Daemon, log
from lb_adapter.dataplane.base import Load, Swept, Traffic
from lb_adapter.selecting import STATES

TCP = 6


def order_of(request: wire.SweepOrder) -> Order:
    """What a master asks of its slave, for the data plane."""
    slot = None if request.slot is None or request.generation is None else (request.slot, request.generation)
    key = None if request.key is None else SessionKey.parse(request.key)
    return Order(request.mode, slot, round(request.idle * 1000), key=key)


def mirrored(order: Order, master_id: str, nonce: str) -> wire.SweepOrder:
    """What the slave does first. It has no other slot to move a lease to: the next packet tells it."""
    slot, generation = order.slot or (None, None)
    return wire.SweepOrder(
        nonce=nonce,
        master_id=master_id,
        mode="reset" if order.mode == "reset" else "delete",
        slot=slot,
        generation=generation,
        idle=order.idle / 1000,
        key=None if order.key is None else order.key.text,
    )


def _idle_for(seconds: float) -> Order:
    return Order("delete", idle=math.ceil(seconds * 1000))


class Sessions(Daemon):
    """The master's part in it."""

    _turn: threading.RLock
    """One exchange with the slave at a time. Taken before `_lock`, which is free meanwhile."""

    @abstractmethod
    def _refuse_while_copying(self) -> None: ...
    @abstractmethod
    def _propose(self, table: ChainTable, *, force: bool = False) -> None: ...
    @abstractmethod
    def _tell_slave(self, order: Order) -> None: ...

    def _sweep(self, order: Order) -> Swept:
        """Carry out an order at the slave, then here. Repeated, it does what is left to do."""
        self._tell_slave(order)
        return self.sweep_here(order)

    def end_sessions(self, tags: TagPair, then: wire.Then) -> wire.PairEnded:
        """End what is left of a pair that cools down. Closed first, it learns nothing from late packets."""
        self._refuse_while_copying()
        if then == "rebalance":
            self._refuse_if_rewriting("reset them instead (--then reset)")
        with self._turn:
            table = balancer.closed(self.table, tags, self._clock())
            if table != self.table:
                self._propose(table)
            pair = self.table.find(tags)
            if pair.state is PairState.CLOSED:
                place = (pair.slot, pair.generation)
                swept = self._sweep(Order("reset" if then == "reset" else "delete", place))
                if swept.reset or swept.moved:
                    log.warning("sessions ended", pair=str(tags), reset=swept.reset, moved=swept.moved)
            with self._lock:
                left = self._walk().get(pair.slot, Load()).pins
                counted = self._plane.traffic().get(pair.slot, Traffic())
        return wire.PairEnded(
            forward=tags.forward,
            reverse=tags.reverse,
            state=pair.state,
            active=pair.state is not PairState.DRAINED,
            sessions=left,
            reset=counted.reset,
            moved=counted.moved,
        )

    def lives(self) -> wire.LifeTable:
        """How long sessions live, and who is alive."""
        look = self._judging()
        pairs = {(pair.slot, pair.generation): pair.tags for pair in self.table.pairs}
        return lives.table(self._plane.sessions(), self._plane.ended(), look, pairs)

    def end_session(self, request: wire.SessionOrder) -> wire.SessionView:
        """Reset a TCP connection, or move a session to the least loaded other chain. May be repeated."""
        self._refuse_while_copying()
        key = self.single(request.key)
        with self._turn:
            live = {slot: load.live for slot, load in self._walk().items()}
            view = self._view(key)
            if view.tags is None:
                return view
            pair = self.table.find(view.tags.pair())
            if request.mode == "move":
                self._refuse_if_rewriting("reset it instead")
                target = balancer.refuge(self.table, pair.slot, live)
                order = Order("move", key=key, to=(target.slot, target.generation))
            elif key.kind == TCP:
                order = Order("reset", key=key)
            else:
                raise Conflict(f"{key.text} is no TCP connection, and can't be reset: move it instead")
            self._sweep(order)
            log.warning("session ended", session=key.text, mode=request.mode, pair=str(pair.tags))
            return self._view(key)

    def _refuse_if_rewriting(self, fix: str) -> None:
        """A session has two keys there that nobody can tell to be one; no other chain knows it (rule 2)."""
        if self._config.rewrites:
            raise Conflict(
                f"segment {self._segment!r} has chains that rewrite: a session can't go on in another: {fix}"
            )

    def _view(self, key: SessionKey) -> wire.SessionView:
        with self._lock:
            pin = self._plane.pin_of(key)
        if pin is None or pin.dead:
            raise NotFound(f"session {key.text} is not known here: it is over, or never came by")
        state = STATES[pin.state]
        place = (pin.slot, pin.generation)
        tags = [wire.Tags.of(p.tags) for p in self.table.pairs if (p.slot, p.generation) == place]
        return wire.SessionView(
            key=key.text, state=state, tags=None if state == "reset" else next(iter(tags), None)
        )

    def _let_idle_go(self, seconds: float) -> int:
        """Let sessions go that are idle for so long; how many. Their next packet is placed anew.

        Only when the slave's lease has lapsed, and one D more: then nothing of them is under way, and every
        later packet comes to the master first.
        """
        timeouts = self._config.timeouts
        idle = max(seconds, timeouts.lease + 2 * timeouts.transit)
        asked = self._clock()
        # The slave saw the last packet up to D later; a hint that it kept would bring the session back.
        self._tell_slave(_idle_for(idle - timeouts.transit))
        # What became idle since the slave was asked still has its hint there.
        moved = self.sweep_here(_idle_for(idle + self._clock() - asked)).moved
        log.info("idle sessions let go", idle=idle, moved=moved)
        return moved
