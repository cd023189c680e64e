"""A standby has the pins of the active load balancer of its role, and takes its place when it is told to.

Affinity rule 8. Its ports are attached from the beginning, and what comes in there is dropped and counted
(`drop_take_over`). What follows a take-over is what follows when a load balancer of its role has lost its
table, but that it has one: `standby_roles` says what that is for a master, and for a slave.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from catenary import wire
from catenary.errors import CatenaryError, Conflict
from lb_adapter import copies, feed, records
from lb_adapter.balancer import ChainTable
from lb_adapter.daemon import Daemon, from_wire, log, told
from lb_adapter.dataplane.base import TakeOver
from lb_adapter.peering import PATIENCE

RETRY = 0.25
"""s before the active load balancer is asked again for its pins."""
SILENCE = 1.0
"""s without a sign of life after which its stream is opened anew."""
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

    Something came from it at `heard`; `since` is when all pins that are here were there. `term` is how often
    a standby has taken its place.
    """

    heard: float
    since: float | None = None
    term: int = 0
    reason: str | None = "it has not answered yet"


class StandsBy(Daemon):
    """Common to both roles. While it stands by, it may answer what its health and its table are."""

    _turn: threading.RLock
    """One change of what it is at a time."""

    def _stand_by_for(self, active: Active) -> None:
        """The last step of its making."""
        self._active = active
        self._following = Following(self._clock())
        self._standing = self._stands_by()
        self._stamped = self._clock()
        self._feeding = threading.Thread(target=self._follow_active, name="feed", daemon=True)
        if self._standing:
            self._plane.set_take_over(TakeOver.HOLD)

    def _stands_by(self) -> bool:
        """Not if it was active when the last process ended, and nobody has taken its place since."""
        if self._plane.take_over() is TakeOver.HOLD or not self.table.epoch:
            return True
        try:
            health = self._active.health()
        except CatenaryError:
            return False
        other = health.standby
        return health.peer.connected and (other is None or other.state == "active")

    @abstractmethod
    def _check_role(self, health: wire.BalancerHealth) -> int:
        """The term of the active one; `Conflict` unless its pins mean here what they mean there."""

    @abstractmethod
    def _adopt_chains(self, table: ChainTable) -> None:
        """Know the chain set that is applied."""

    @abstractmethod
    def _take_place(self, fenced: float) -> None:
        """The active one was fenced so many s ago."""

    def start(self, settled: Callable[[], None] = lambda: None) -> None:
        super().start(settled)
        self._feeding.start()

    def stop(self, *, detach: bool) -> None:
        super().stop(detach=detach)
        self._feeding.join(timeout=PATIENCE)

    def tick(self) -> bool:
        if not self._standing:
            return super().tick()
        walked = Daemon.tick(self)
        if self._clock() - self._stamped > RESTAMP:
            self._stamp(records.AGELESS_MS)
        return walked

    # -- following -----------------------------------------------------------------------------------------

    def _follow_active(self) -> None:
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
        url, role = self._active.url, self._config.role
        if (health.role, health.segment) != (role, self._segment):
            raise Conflict(
                f"{url} is the {health.role} of segment {health.segment!r}, not the {role} of "
                f"{self._segment!r}: check --standby-of and --role here, and --segment of both"
            )
        self._following = replace(self._following, term=self._check_role(health))

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
                self._adopt_chains(table)

    # -- taking over ---------------------------------------------------------------------------------------

    def take_over(self, order: wire.TakeOverOrder) -> wire.BalancerHealth:
        """Take the place of the active one, which is fenced; `health` tells when it is done. Idempotent."""
        with self._turn:
            if self._standing:
                silent = round(self._clock() - self._following.heard, 3)
                with self._lock:
                    self._standing = False
                self._take_place(order.fenced)
                term = self._following.term + 1
                log.warning("taking over", of=self._active.url, silent_s=silent, term=term)
                self._wake.set()
        return self.health()

    def _stamp(self, ahead_ms: int) -> None:
        """All pins were last seen now, or so far ahead."""
        self._stamped = self._clock()
        now_ms = self._plane.now_ms()
        alive = records.ageless(copies.exported(self._plane), now_ms)
        self._insert(records.refreshed(alive, now_ms + ahead_ms))

    def feed(self) -> Iterator[bytes]:
        if self._standing:
            raise Conflict(f"this load balancer stands by for {self._active.url}: follow that one")
        return super().feed()

    def _told_of(self, health: wire.BalancerHealth) -> wire.BalancerHealth:
        """The health of its role, with how far it is in step."""
        now, following = self._clock(), self._following
        taking_over = self._plane.take_over() is TakeOver.HOLD
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
