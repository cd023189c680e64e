"""The slave's daemon: it takes chain sets from its master and never makes one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from catenary import wire
from catenary.chain import PairState
from catenary.tags import TagPair
from lb_adapter import asking, following, records
from lb_adapter.balancer import ChainTable
from lb_adapter.daemon import Daemon, from_wire, log
from lb_adapter.dataplane.base import DataPlane, Load, SpliceConfig
from lb_adapter.records import PinRecords
from lb_adapter.selecting import Look
from lb_adapter.sessions import order_of


class Slave(Daemon):
    """Follows its master: takes chain sets, never makes one. What is accepted is decided in `following`."""

    def __init__(
        self,
        plane: DataPlane,
        config: SpliceConfig,
        segment: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(plane, _as_told(config, plane), segment, clock=clock)
        self._follower = following.Follower(segment, self.instance, plane.adopt())
        self._asking = asking.Asking()

    @property
    def table(self) -> ChainTable:
        return self._follower.table

    def _watch(self, before: Mapping[str, int]) -> None:
        """Where no chain takes sessions no ask is answered."""
        super()._watch(before)
        missed, now, transit = self._asking.missed, self._clock(), self._config.timeouts.transit
        if any(pair.state is PairState.ACTIVE for pair in self.table.pairs):
            self._asking = asking.observe(self._asking, before, self._counters, now, transit)
        else:
            self._asking = asking.Asking()
        if self._asking.missed and not missed:
            log.warning(
                "asks get no answer", asks=self._asking.asks, seconds=round(now - self._asking.first, 1)
            )
        elif missed and not self._asking.missed:
            log.info("asks get answers again")

    def _reason(self) -> str | None:
        return super()._reason() or self._asking.reason

    def handshake(self, request: wire.Handshake) -> wire.HandshakeReply:
        chains = request.chain_set
        with self._lock:
            hello = following.Hello(
                request.protocol,
                chains.segment,
                request.master_id,
                request.slave_id,
                request.ask_id,
                self._read(chains),
                request.term,
                request.slave_term,
            )
            follower = following.greeted(self._follower, hello, wire.PROTOCOL)
            self._config = replace(
                self._config,
                ask_id=request.ask_id,
                affinity=request.affinity,
                timeouts=request.timeouts.timeouts(),
            )
            self._plane.configure(self._config)
            self._follow(follower)
        log.info("handshake", master=request.master_id, epoch=chains.epoch)
        return wire.HandshakeReply(slave_id=self.instance, epoch=chains.epoch, capacity=self._plane.capacity)

    def put_chain_set(self, update: wire.ChainSetUpdate) -> None:
        chains = update.chain_set
        with self._lock:
            table, asks = self._read(chains), self._config.ask_id
            self._follow(following.told(self._follower, chains.segment, update.master_id, table, asks))

    def _read(self, chains: wire.ChainSet) -> ChainTable:
        return from_wire(chains, self._clock())

    def _follow(self, follower: following.Follower) -> None:
        """The data plane first: what could not be applied is not believed either."""
        self._prepare(follower.table)
        self._plane.apply(follower.table)
        self._follower = follower
        self._wake.set()

    def dismiss(self, request: wire.Dismissal) -> None:
        """A standby has taken its place: this one, which is cut off, has no master any more."""
        with self._lock:
            self._follower = following.dismissed(self._follower, request.slave_id, request.slave_term)
        log.warning("dismissed", reason=self._follower.reason)

    def _settled_epoch(self, patience: float) -> int | None:
        if not self._lock.acquire(timeout=patience):
            return None
        try:
            return self.table.epoch
        finally:
            self._lock.release()

    def pins(self, since_ms: int | None) -> Iterator[bytes]:
        """Its session table, or what was seen since, as a stream (`records`). Packets go on.

        It waits for no walk: its master has no table meanwhile, and is not patient for as long.
        """
        look, epoch = self._judging(), self.table.epoch
        if since_ms is None:
            log.info("session table copied", epoch=epoch)
        batches = self._in_force(since_ms, look)
        return records.write(batches, protocol=wire.PROTOCOL, epoch=epoch, now_ms=look.now_ms)

    def _in_force(self, since_ms: int | None, look: Look) -> Iterator[PinRecords]:
        """While all of it is copied, no walk takes the time."""
        begun = self._clock()
        for batch in self._plane.export(since_ms):
            if since_ms is None:
                self._pace = self._pace.copying(begun, self._clock())
            yield batch[look.in_force(batch)]

    def nonce(self, request: wire.NonceRequest) -> wire.Nonce:
        """For the next order: made here, so that this clock alone says how old the order is."""
        nonce = secrets.token_hex(8)
        with self._lock:
            self._follower = following.awaiting(self._follower, request.master_id, nonce, self._clock())
        return wire.Nonce(nonce=nonce)

    def sweep(self, request: wire.SweepOrder) -> wire.Swept:
        """Let go of sessions; the master ends them next."""
        with self._lock:
            self._follower = following.ordered(
                self._follower, request.master_id, request.nonce, self._clock()
            )
            swept = self.sweep_here(order_of(request))
        return wire.Swept(reset=swept.reset, moved=swept.moved)

    def put_pins(self, master_id: str, stream: Iterable[bytes]) -> None:
        """Keep what its master saw (affinity rule 2): as hints, for only tags and answers prove leases."""
        copy = records.read(stream, protocol=wire.PROTOCOL)
        with self._lock:
            following.check_master(self._follower, master_id)
            lease_ms = round(self._config.timeouts.lease * 1000)
            self._plane.take_in(records.foreign(copy, self._plane.now_ms() - lease_ms))

    def activity(self, tags: TagPair) -> wire.PairActivity:
        """Active while the pair takes sessions or a valid lease of it is left."""
        with self._lock:
            pair = self.table.find(tags)
            leases = self._walk().get(pair.slot, Load()).live
        return wire.PairActivity(
            forward=tags.forward,
            reverse=tags.reverse,
            state=pair.state,
            active=pair.state is PairState.ACTIVE or leases > 0,
            sessions=leases,
        )

    def stats(self) -> wire.BalancerStats:
        return self.own_stats()

    def health(self) -> wire.BalancerHealth:
        follower = self._follower
        met = follower.master is not None
        return self._health(
            wire.PeerHealth(url=None, connected=met, instance=follower.master, reason=follower.reason),
            follower.term,
            follower.slave_term,
        )


def _as_told(config: SpliceConfig, plane: DataPlane) -> SpliceConfig:
    """With what the master told the slave before this one: the sessions that go on live by it.

    Until the master greets, they may need to ask, and neither their keys nor their leases may change.
    """
    told = plane.adopted_config((config.outer, config.inner))
    if told is None or told.role != "slave":
        return config
    told_of = {name: getattr(told, name) for name in ("ask_id", "affinity", "timeouts", "probes")}
    return replace(config, **told_of)
