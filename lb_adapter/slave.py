"""The slave's daemon: it takes chain sets from its master and never makes one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict
from catenary.session import Timeouts
from catenary.tags import TagPair
from lb_adapter import peering
from lb_adapter.daemon import Daemon, from_wire, log
from lb_adapter.dataplane.base import DataPlane, Load, SpliceConfig


class Slave(Daemon):
    """Follows its master: takes chain sets, never makes one."""

    def __init__(
        self,
        plane: DataPlane,
        config: SpliceConfig,
        segment: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(plane, config, segment, clock=clock)
        self._master: str | None = None

    def handshake(self, request: wire.Handshake) -> wire.HandshakeReply:
        peering.check_protocol(request.protocol, wire.PROTOCOL)
        timeouts: Timeouts = request.timeouts.timeouts()
        with self._lock:
            self._check(request.chain_set)
            self._config = replace(
                self._config, ask_id=request.ask_id, affinity=request.affinity, timeouts=timeouts
            )
            self._plane.configure(self._config)
            self._apply(from_wire(request.chain_set, self._clock()))
            self._master = request.master_id
        log.info("handshake", master=request.master_id, epoch=request.chain_set.epoch)
        return wire.HandshakeReply(slave_id=self.instance, epoch=request.chain_set.epoch)

    def put_chain_set(self, chain_set: wire.ChainSet) -> None:
        with self._lock:
            if self._master is None:
                raise Conflict("no handshake yet: a chain set needs one first")
            self._check(chain_set)
            self._apply(from_wire(chain_set, self._clock()))

    def _check(self, chain_set: wire.ChainSet) -> None:
        peering.check_segment(chain_set.segment, self._segment)
        peering.check_epoch(chain_set.epoch, self._table.epoch)

    def activity(self, tags: TagPair) -> wire.PairActivity:
        """Active while the pair takes sessions or a valid lease of it is left."""
        with self._lock:
            pair = self._table.find(tags)
            leases = self._plane.walk().get(pair.slot, Load()).live
        return wire.PairActivity(
            forward=tags.forward,
            reverse=tags.reverse,
            state=pair.state,
            active=pair.state is PairState.ACTIVE or leases > 0,
            sessions=leases,
        )

    def stats(self) -> wire.BalancerStats:
        return self._stats(None)

    def health(self) -> wire.BalancerHealth:
        met = self._master is not None
        return self._health(
            wire.PeerHealth(url=None, connected=met, reason=None if met else "no handshake yet")
        )
