"""What a live view shows, polled from the public REST: for `catenary top` and the dashboard."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from catenary import wire
from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from catenary.traffic import TrafficSample

HISTORY = 180
"""Points of the past that are kept for charts."""
PORTION = 20
"""Samples asked for at a time."""
EVENTS = 100
STATUS_EVERY = 5
"""The parts are asked for with every so many polls: that costs each of them a call."""


@dataclass(frozen=True)
class Point:
    """What a chart needs of a sample: by chain its segment, bytes a second both ways, and live sessions.

    `totals` has rate and sessions of each segment, and under None of all.
    """

    at: float
    chains: Mapping[str, tuple[str, float, int]]
    totals: Mapping[str | None, tuple[float, int]]

    @classmethod
    def of(cls, sample: TrafficSample) -> Self:
        chains, totals = {}, dict[str | None, tuple[float, int]]()
        for row in sample.chains:
            rate, sessions = (row.forward or 0.0) + (row.reverse or 0.0), row.sessions or 0
            chains[row.name] = (row.segment, rate, sessions)
            for name in (row.segment, None):
                before = totals.get(name, (0.0, 0))
                totals[name] = (before[0] + rate, before[1] + sessions)
        return cls(sample.at, chains, totals)


@dataclass(frozen=True)
class Scene:
    """All that a view shows. `fault` says why it is not up to date; `past` ends with `now`."""

    now: TrafficSample | None = None
    past: tuple[Point, ...] = ()
    events: tuple[wire.HistoryEntry, ...] = ()
    services: tuple[wire.ServiceStatus, ...] = ()
    fault: str | None = None


@dataclass
class Watch:
    """`poll` asks for what is new, and never raises what a service says. One thread at a time.

    `history`: points of the past that are wanted; 1 is the last alone.
    """

    client: ManagementClient
    history: int = HISTORY
    scene: Scene = field(default_factory=Scene)
    _polls: int = 0
    _entry: int | None = None

    def poll(self) -> Scene:
        try:
            now, past = self._samples()
            events = self._events()
            services = self.scene.services
            if self._polls % STATUS_EVERY == 0:
                services = tuple(self.client.status().services)
            self._polls += 1
            self.scene = Scene(now, past, events, services)
        except CatenaryError as error:
            self._polls = 0
            self.scene = replace(self.scene, fault=error.detail)
        return self.scene

    def _samples(self) -> tuple[TrafficSample | None, tuple[Point, ...]]:
        now, past = self.scene.now, deque(self.scene.past, maxlen=self.history)
        since = now.at if now else None if self.history == 1 else 0.0
        while True:
            found = self.client.traffic(since, PORTION)
            past.extend(map(Point.of, found))
            now = found[-1] if found else now
            if len(found) < PORTION or since is None:
                return now, tuple(past)
            since = found[-1].at

    def _events(self) -> tuple[wire.HistoryEntry, ...]:
        """The newest entries of the journal, oldest first."""
        kept = deque(self.scene.events, maxlen=EVENTS)
        wanted = {"last": EVENTS} if self._entry is None else {"after": self._entry}
        for entry in self.client.history(**wanted):
            self._entry = entry.seq
            kept.append(entry)
        return tuple(kept)
