"""What standing by and taking over are for a master, and for a slave (affinity rule 8)."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from catenary import wire
from catenary.errors import Conflict
from lb_adapter import talk
from lb_adapter.balancer import ChainTable
from lb_adapter.daemon import Daemon, log
from lb_adapter.dataplane.base import DataPlane, SpliceConfig, TakeOver
from lb_adapter.master import Master
from lb_adapter.places import Peer
from lb_adapter.slave import Slave
from lb_adapter.standby import Active, StandsBy

WAKING = 0.02
"""s between two looks while a master takes over: nothing passes meanwhile."""
MARGIN = 0.25
"""s by which a message may have been under way to us: what the slave saw since then is copied, too."""


class MasterStandby(StandsBy, Master):
    """It takes over as a master that lost its table and has copied its slave's once.

    What the slave saw since the stream was last in step comes from there, as all of it would if the stream
    never was.
    """

    def __init__(
        self, plane: DataPlane, config: SpliceConfig, segment: str, peer: Peer, active: Active, **options: Any
    ) -> None:
        super().__init__(plane, config, segment, peer, **options)
        self._stand_by_for(active)
        self._was_active = not self._standing
        if self._standing:
            self._leader = replace(self._leader, hold=self._clock(), reason=f"it stands by for {active.url}")

    def _pause(self) -> float:
        return WAKING if not self._standing and self._leader.hold is not None else super()._pause()

    def _check_role(self, health: wire.BalancerHealth) -> int:
        here = self._config
        for option, ours, theirs in (
            ("--ask-id", here.ask_id, health.ask_id),
            ("timeouts", wire.TimeoutsModel(**vars(here.timeouts)), health.timeouts),
            ("--rewrites", here.rewrites, health.rewrites),
        ):
            if ours != theirs:
                raise Conflict(
                    f"{self._active.url} has other {option}, {theirs}, not {ours}: start both with the same"
                )
        return health.term

    def _adopt_chains(self, table: ChainTable) -> None:
        self._leader = replace(self._leader, table=table)

    def _prepare(self, table: ChainTable) -> None:
        """A standby probes nothing: its probes would not come back."""
        if self._standing:
            Daemon._prepare(self, table)
        else:
            super()._prepare(table)

    def _take_place(self, fenced: float) -> None:
        following = self._following
        self._leader = replace(
            self._leader,
            hold=self._clock() - fenced,
            since=None if following.since is None else following.since - MARGIN,
            term=following.term + 1,
            reason="it is taking over",
        )
        self._stamp(0)

    def _look(self) -> talk.Seen:
        seen = super()._look()
        if self._was_active:  # by an earlier process, which the slave may know better
            self._leader = replace(self._leader, term=max(self._leader.term, seen.term))
        return seen

    def _refuse_while_copying(self) -> None:
        if self._standing:
            raise Conflict(f"this load balancer stands by for {self._active.url}: ask that one")
        super()._refuse_while_copying()

    def health(self) -> wire.BalancerHealth:
        return self._told_of(super().health())


class SlaveStandby(StandsBy, Slave):
    """It takes over as a slave that lost its table and asks, but with hints.

    It places nothing, so that it need not wait for what is under way; but until its master has greeted it, it
    may know an older chain set than that: servers' packets wait for the greeting (`drop_take_over`). None of
    the leases that it has by then counts, neither the former slave's, whose age it does not know, nor what
    came out of a chain that the master had closed meanwhile.
    """

    def __init__(
        self, plane: DataPlane, config: SpliceConfig, segment: str, active: Active, **options: Any
    ) -> None:
        super().__init__(plane, config, segment, **options)
        self._turn = threading.RLock()
        self._stand_by_for(active)
        if not self._standing:  # an earlier process took the place; its master knows how often that was
            self._follower = replace(self._follower, slave_term=1)

    def _check_role(self, health: wire.BalancerHealth) -> int:
        return health.slave_term

    def _adopt_chains(self, table: ChainTable) -> None:
        self._prepare(table)
        self._follower = replace(self._follower, table=table)

    def _take_place(self, fenced: float) -> None:
        self._follower = replace(self._follower, slave_term=self._following.term + 1)

    def handshake(self, request: wire.Handshake) -> wire.HandshakeReply:
        with self._turn:
            if self._standing:
                raise Conflict(f"this load balancer stands by for {self._active.url}: greet that one")
            reply = super().handshake(request)
            if self._plane.take_over() is TakeOver.HOLD:
                self._stamp(-round(1000 * self._config.timeouts.lease))
                with self._lock:
                    self._plane.set_take_over(TakeOver.NONE)
                log.info("taken over", of=self._active.url, epoch=reply.epoch)
            return reply

    def health(self) -> wire.BalancerHealth:
        return self._told_of(super().health())
