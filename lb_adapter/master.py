"""The master's daemon: the one writer of the chain set, with its slave beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Protocol

from catenary import wire
from catenary.chain import PairState
from catenary.errors import CatenaryError, Conflict, Unavailable
from catenary.tags import TagPair
from lb_adapter import balancer, overflow, peering
from lb_adapter.balancer import ChainTable
from lb_adapter.daemon import Daemon, from_wire, log, to_wire
from lb_adapter.dataplane.base import DataPlane, Load, SpliceConfig


class Peer(Protocol):
    """What the master asks of its slave (`catenary.client.BalancerClient`)."""

    url: str

    def health(self) -> wire.BalancerHealth: ...
    def pairs(self) -> wire.ChainSet: ...
    def stats(self) -> wire.BalancerStats: ...
    def handshake(self, handshake: wire.Handshake) -> wire.HandshakeReply: ...
    def put_chain_set(self, chain_set: wire.ChainSet) -> None: ...


class Master(Daemon):
    """The one writer. It passes every change to its slave, and uses it only when the slave has taken it."""

    def __init__(
        self,
        plane: DataPlane,
        config: SpliceConfig,
        segment: str,
        peer: Peer,
        *,
        slow_start: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(plane, config, segment, clock=clock)
        self._peer = peer
        self._known = peering.Peer()
        self._overflow = overflow.Overflow(active=plane.overflow(), since=self._clock())
        self._slow_start = slow_start
        self._table = balancer.adopted(self._table, self._clock(), slow_start)

    @property
    def _ask_id(self) -> int:
        assert self._config.ask_id is not None, "a master is made with an ask ID"
        return self._config.ask_id

    def _busy(self) -> bool:
        return (
            super()._busy() or not self._known.connected or bool(self._slow_start and self._table.warming())
        )

    def tick(self) -> None:
        super().tick()
        self._watch_capacity()
        self._keep_peer()
        if self._known.connected and self._table.cooling_down():
            self._advance()
        if self._known.connected and self._slow_start and not self._plane.overflow():
            self._warm_up()

    def _warm_up(self) -> None:
        with self._lock:
            table = balancer.warmed(self._table, self._clock(), self._slow_start)
            if table != self._table:
                self._commit(table)

    def _watch_capacity(self) -> None:
        with self._lock:
            counters = self._counters
            self._overflow = overflow.observe(
                self._overflow,
                full=self._plane.overflow(),
                pins=sum(load.pins for load in self._load.values()),
                capacity=self._plane.capacity,
                unpinned=counters["pin_table_full"] + counters["evicted"],
                now=self._clock(),
                timeouts=self._config.timeouts,
            )
            began = self._overflow.active != self._plane.overflow()
            if began or self._overflow.active:
                self._plane.set_overflow(self._overflow.active, roomy=self._overflow.roomy)
            if began:
                log.warning("overflow", active=self._overflow.active, capacity=self._plane.capacity)

    def _keep_peer(self) -> None:
        """Shake hands when the slave is new, is back, or fell behind."""
        try:
            health = self._peer.health()
            with self._lock:
                if not peering.needs_handshake(self._known, health.instance, health.epoch, self._table.epoch):
                    return
                if self._table == ChainTable() and health.epoch:
                    # This master lost its maps and its slave did not: go on with the slave's chain set.
                    self._apply(from_wire(self._peer.pairs(), self._clock()))
                self._table = replace(self._table, epoch=peering.epoch_after(self._table.epoch, health.epoch))
                self._shake_hands()
        except CatenaryError as error:
            if self._known.connected:
                log.warning("slave lost", url=self._peer.url, reason=error.detail)
            self._known = replace(self._known, reason=error.detail)

    def _shake_hands(self) -> None:
        reply = self._peer.handshake(
            wire.Handshake(
                master_id=self.instance,
                ask_id=self._ask_id,
                affinity=self._config.affinity,
                timeouts=wire.TimeoutsModel(**asdict(self._config.timeouts)),
                chain_set=to_wire(self._segment, self._table),
            )
        )
        peering.check_protocol(reply.protocol, wire.PROTOCOL)
        self._plane.apply(self._table)
        self._known = peering.Peer(reply.slave_id, reply.epoch, None)
        log.info("handshake", slave=self._peer.url, instance=reply.slave_id, epoch=reply.epoch)

    def _advance(self) -> None:
        """Move cool-downs on; the slave's leases are read only when a pair may be drained."""
        with self._lock:
            pins = {slot: load.pins for slot, load in self._load.items()}
            leases: dict[int, int] = {}
            if any(p.state is PairState.CLOSED for p in self._table.pairs):
                leases = {row.slot: row.sessions for row in self._peer.stats().pairs}
            table = balancer.advance(self._table, pins, leases, self._clock(), self._config.timeouts.transit)
            if table != self._table:
                self._commit(table)

    def _commit(self, table: ChainTable, *, force: bool = False) -> None:
        """Slave first, then our own data plane. An epoch that failed half-way is never used again."""
        moves = table.placement() != self._table.placement() and not force
        if moves:
            self._check_overflow()
        try:
            self._peer.put_chain_set(to_wire(self._segment, table))
            if moves:
                self._check_overflow()  # it may have begun meanwhile
        except CatenaryError as error:
            self._table = replace(self._table, epoch=table.epoch)
            self._known = replace(self._known, reason=error.detail)
            if isinstance(error, Conflict):
                raise
            raise Unavailable(f"the slave did not take the change: {error.detail}") from error
        self._apply(table)
        log.info("chain set", epoch=table.epoch, pairs=[f"{p.tags} {p.state}" for p in table.pairs])

    def _require_peer(self) -> None:
        if not self._known.connected:
            raise Unavailable(f"no handshake with the slave at {self._peer.url}: {self._known.reason}")

    def change(self, request: wire.Change) -> wire.ChainSet:
        with self._lock:
            if request.expect_epoch not in (None, self._table.epoch):
                raise Conflict(
                    f"expected epoch {request.expect_epoch}, the present one is {self._table.epoch}"
                )
            table = balancer.change(
                self._table,
                add=[(item.pair(), item.weight) for item in request.add],
                remove=[item.pair() for item in request.remove],
                cancel=[item.pair() for item in request.cancel],
                forget=[item.pair() for item in request.forget],
                ask_id=self._ask_id,
                now=self._clock(),
                transit=self._config.timeouts.transit,
            )
            if table != self._table and self._slow_start and not self._plane.overflow():
                warmed = balancer.warmed(table, self._clock(), self._slow_start)
                table = replace(warmed, epoch=table.epoch)
            if table != self._table:
                self._require_peer()
                self._commit(table, force=request.force)
            return to_wire(self._segment, self._table)

    def _check_overflow(self) -> None:
        if self._plane.overflow():
            raise Conflict(
                f"the session table of {self._plane.capacity} is full: sessions without a pin live by the "
                "hash, which a change of the chain set would move; wait until it is over, or force it"
            )

    def rebalance(self, request: wire.Rebalance) -> wire.ChainSet:
        with self._lock:
            live = {slot: load.live for slot, load in self._plane.walk().items()}
            weights = [(item.pair(), item.weight) for item in request.weights]
            table = balancer.reweigh(self._table, weights, live)
            if table != self._table:
                self._require_peer()
                self._commit(table, force=request.force)
            return to_wire(self._segment, self._table)

    def activity(self, tags: TagPair) -> wire.PairActivity:
        with self._lock:
            pair = self._table.find(tags)
            pins = self._plane.walk().get(pair.slot, Load()).pins
        return wire.PairActivity(
            forward=tags.forward,
            reverse=tags.reverse,
            state=pair.state,
            active=pair.state is not PairState.DRAINED,
            sessions=pins,
        )

    def stats(self) -> wire.BalancerStats:
        """Its own and its slave's; the slave's are null while it can't be reached."""
        try:
            peer = self._peer.stats()
        except Unavailable:
            peer = None
        return self._stats(peer)

    def health(self) -> wire.BalancerHealth:
        known = self._known
        return self._health(
            wire.PeerHealth(url=self._peer.url, connected=known.connected, reason=known.reason)
        )
