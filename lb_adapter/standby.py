"""A master's standby: it has the pins of the active load balancer, and takes its place when it is told to.

Affinity rule 8. Its ports are attached from the beginning, and whatever comes in there is dropped and counted
(`drop_take_over`): it holds, as a master that lost its table does, and what follows a take-over is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from catenary import wire
from catenary.errors import CatenaryError, Conflict
from lb_adapter import copies, feed, peering, records
from lb_adapter.balancer import ChainTable
from lb_adapter.daemon import Daemon, from_wire, log, told
from lb_adapter.dataplane.base import DataPlane, SpliceConfig, TakeOver
from lb_adapter.master import Master, Peer

RETRY = 0.25
"""s before the active load balancer is asked again for its pins."""
SILENCE = 1.0
"""s without a sign of life after which its stream is opened anew."""
WAKING = 0.02
"""s between two looks while it takes over: nothing passes meanwhile."""
MARGIN = 0.25
"""s by which a message may have been under way to us: what the slave saw since then is copied, too."""
RESTAMP = 86400.0
"""s between two times that they are stamped so."""


class Active(Protocol):
    """What a standby asks of the load balancer whose place it may take."""

    url: str

    def health(self) -> wire.BalancerHealth: ...
    def pairs(self) -> wire.ChainSet: ...
    def feed(self) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Following:
    """What a standby knows of the active one, s of its own clock.

    Something came from it at `heard`; `since` is when all pins that are here were there. The slave's clock
    was `slave_ms` at `slave_at`.
    """

    heard: float
    since: float | None = None
    term: int = 0
    slave_ms: int = 0
    slave_at: float | None = None
    reason: str | None = "it has not answered yet"

    def slave_clock(self, moment: float) -> int | None:
        """The slave's clock at a moment of ours, if it was ever asked."""
        if self.slave_at is None:
            return None
        return (self.slave_ms + round(1000 * (moment - self.slave_at))) & 0xFFFFFFFF


class Standby(Master):
    """A master that stands by: what it may answer then is its health and its table."""

    def __init__(
        self, plane: DataPlane, config: SpliceConfig, segment: str, peer: Peer, active: Active, **options: Any
    ) -> None:
        super().__init__(plane, config, segment, peer, **options)
        self._active = active
        self._following = Following(self._clock())
        self._standing = self._stands_by()
        self._was_active = not self._standing
        self._stamped = self._clock()
        self._feeding = threading.Thread(target=self._follow, name="feed", daemon=True)
        if self._standing:
            self._plane.set_take_over(TakeOver.HOLD)
            self._leader = replace(self._leader, hold=self._clock(), reason=f"it stands by for {active.url}")

    def _stands_by(self) -> bool:
        """Not if it was active when the last process ended, and nobody has taken its place since."""
        if self._plane.take_over() is TakeOver.HOLD:
            return True
        try:
            health = self._active.health()
        except CatenaryError:
            return False
        other = health.standby
        return health.peer.connected and (other is None or other.state == "active")

    def start(self, settled: Callable[[], None] = lambda: None) -> None:
        super().start(settled)
        self._feeding.start()

    def stop(self, *, detach: bool) -> None:
        super().stop(detach=detach)
        self._feeding.join(timeout=peering.PATIENCE)

    def _pause(self) -> float:
        return WAKING if not self._standing and self._leader.hold is not None else super()._pause()

    def tick(self) -> bool:
        if not self._standing:
            return super().tick()
        walked = Daemon.tick(self)
        if self._clock() - self._stamped > RESTAMP:
            self._stamp(records.AGELESS_MS)
        try:
            asked, health = self._clock(), self._peer.health()
            self._following = replace(self._following, slave_ms=health.clock_ms, slave_at=asked)
        except CatenaryError as error:
            log.warning("no slave", url=self._peer.url, reason=error.detail)
        return walked

    # -- following -----------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while self._standing and not self._stop.is_set():
            try:
                self._check(self._active.health())
                for made in feed.read(self._active.feed(), protocol=wire.PROTOCOL):
                    self._hear(made)
                    if not self._standing or self._stop.is_set():
                        return
                reason = "its stream has ended"
            except Exception as error:  # noqa: BLE001 - whatever it was, the next stream may do better
                reason = told(error)
            if reason != self._following.reason:
                log.warning("active load balancer lost", url=self._active.url, reason=reason)
            self._following = replace(self._following, reason=reason)
            self._stop.wait(RETRY)

    def _check(self, health: wire.BalancerHealth) -> None:
        """Raise `Conflict` unless its pins mean here what they mean there."""
        url, here = self._active.url, self._config
        if (health.role, health.segment) != ("master", self._segment):
            raise Conflict(
                f"{url} is the {health.role} of segment {health.segment!r}, not the master of "
                f"{self._segment!r}: check --standby-of here, and --segment of both"
            )
        timeouts = wire.TimeoutsModel(**vars(here.timeouts))
        for option, ours, theirs in (
            ("--ask-id", here.ask_id, health.ask_id),
            ("timeouts", timeouts, health.timeouts),
            ("--rewrites", here.rewrites, health.rewrites),
        ):
            if ours != theirs:
                raise Conflict(f"{url} has other {option}, {theirs}, not {ours}: start both with the same")
        self._following = replace(self._following, term=health.term)

    def _hear(self, made: feed.Round | None) -> None:
        now = self._clock()
        following = replace(self._following, heard=now, reason=None)
        if made is not None:
            self._take_in(made, whole=following.since is None or self._following.reason is not None)
            following = replace(following, since=now - made.age_ms / 1000)
            if self._following.since is None:
                log.info("in step", url=self._active.url, sessions=len(made.here))
        elif following.since is None or self._following.reason is not None:
            following = replace(following, reason=self._following.reason)  # until the first round is complete
        self._following = following

    def _take_in(self, made: feed.Round, *, whole: bool) -> None:
        """The chain set first: pins of a chain that is not known would be taken for expired."""
        if made.epoch != self.table.epoch:
            self._take_chains(from_wire(self._active.pairs(), self._clock()))
        with self._turn:
            if not self._standing:
                return
            now_ms, gone, here = self._plane.now_ms(), made.gone, made.here
            if whole:
                gone, here = feed.difference(records.ageless(copies.exported(self._plane), now_ms), here)
            # The next walk takes away what is as good as expired, whatever the data plane.
            self._insert(records.refreshed(gone, now_ms - records.AGELESS_MS))
            self._insert(records.refreshed(here, now_ms + records.AGELESS_MS))

    def _insert(self, pins: records.PinRecords) -> None:
        if len(pins):
            self._left_out += len(pins) - copies.insert(self._plane, self._lock, pins)

    def _take_chains(self, table: ChainTable) -> None:
        with self._turn, self._lock:
            if self._standing:
                self._plane.apply(table)
                self._leader = replace(self._leader, table=table)

    def _prepare(self, table: ChainTable) -> None:
        """A standby probes nothing: its probes would not come back."""
        if self._standing:
            Daemon._prepare(self, table)
        else:
            super()._prepare(table)

    # -- taking over ---------------------------------------------------------------------------------------

    def take_over(self, order: wire.TakeOverOrder) -> wire.BalancerHealth:
        """Take the place of the active one, which is fenced; `health` tells when it is done. Idempotent.

        What the slave saw since the stream was last in step comes from there, as all of it would if the
        stream never was.
        """
        with self._turn:
            if self._standing:
                now, following = self._clock(), self._following
                since = None if following.since is None else following.slave_clock(following.since - MARGIN)
                with self._lock:
                    self._standing = False
                self._leader = replace(
                    self._leader,
                    hold=now - order.fenced,
                    copied_ms=since,
                    term=following.term + 1,
                    reason="it is taking over",
                )
                self._stamp(0)
                silent = round(now - following.heard, 3)
                log.warning("taking over", of=self._active.url, silent_s=silent, term=self._leader.term)
                self._wake.set()
        return self.health()

    def _stamp(self, ahead_ms: int) -> None:
        """All pins were last seen now, or so far ahead."""
        self._stamped = self._clock()
        now_ms = self._plane.now_ms()
        alive = records.ageless(copies.exported(self._plane), now_ms)
        self._insert(records.refreshed(alive, now_ms + ahead_ms))

    def _look(self) -> peering.Seen:
        seen = super()._look()
        if self._was_active:  # by an earlier process, which the slave may know better
            self._leader = replace(self._leader, term=max(self._leader.term, seen.term))
        return seen

    def _refuse_while_copying(self) -> None:
        if self._standing:
            raise Conflict(f"this load balancer stands by for {self._active.url}: ask that one")
        super()._refuse_while_copying()

    def feed(self) -> Iterator[bytes]:
        if self._standing:
            raise Conflict(f"this load balancer stands by for {self._active.url}: follow that one")
        return super().feed()

    def health(self) -> wire.BalancerHealth:
        health, now, following = super().health(), self._clock(), self._following
        taking_over = self._leader.hold is not None
        standby = wire.StandbyHealth(
            of=self._active.url,
            state="following" if self._standing else "taking_over" if taking_over else "active",
            silent=round(now - following.heard, 3),
            lag=None if following.since is None else round(now - following.since, 3),
            pins=sum(load.entries for load in self._load.values()),
            reason=following.reason if self._standing else None,
        )
        if not self._standing:
            return health.model_copy(update={"standby": standby})
        status = "ok" if following.reason is None and health.reason is None else "degraded"
        return health.model_copy(update={"standby": standby, "status": status})
