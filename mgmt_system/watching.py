"""What a live view shows, polled from the public REST: for `catenary top` and the dashboard."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from catenary import wire
from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from catenary.traffic import TrafficSample

HISTORY = 300
"""Samples that are kept for charts."""
PORTION = 60
"""Samples asked for at a time."""
EVENTS = 100
STATUS_EVERY = 5
"""The parts are asked for with every so many polls: that costs each of them a call."""


@dataclass(frozen=True)
class Scene:
    """All that a view shows. `fault` says why it is not up to date; `samples` end with the newest."""

    samples: tuple[TrafficSample, ...] = ()
    events: tuple[wire.HistoryEntry, ...] = ()
    services: tuple[wire.ServiceStatus, ...] = ()
    fault: str | None = None

    @property
    def now(self) -> TrafficSample | None:
        return self.samples[-1] if self.samples else None


@dataclass
class Watch:
    """`poll` asks for what is new, and never raises what a service says. One thread at a time.

    `history`: samples of the past that are wanted; 1 is the last alone.
    """

    client: ManagementClient
    history: int = HISTORY
    scene: Scene = field(default_factory=Scene)
    _polls: int = 0
    _entry: int | None = None

    def poll(self) -> Scene:
        try:
            samples = self._samples()
            events = self._events()
            services = self.scene.services
            if self._polls % STATUS_EVERY == 0:
                services = tuple(self.client.status().services)
            self._polls += 1
            self.scene = Scene(samples, events, services)
        except CatenaryError as error:
            self._polls = 0
            self.scene = Scene(self.scene.samples, self.scene.events, self.scene.services, error.detail)
        return self.scene

    def _samples(self) -> tuple[TrafficSample, ...]:
        kept = deque(self.scene.samples, maxlen=self.history)
        since = kept[-1].at if kept else None if self.history == 1 else 0.0
        while True:
            found = self.client.traffic(since, PORTION)
            kept.extend(found)
            if len(found) < PORTION or since is None:
                return tuple(kept)
            since = found[-1].at

    def _events(self) -> tuple[wire.HistoryEntry, ...]:
        """The newest entries of the journal, oldest first."""
        kept = deque(self.scene.events, maxlen=EVENTS)
        wanted = {"last": EVENTS} if self._entry is None else {"after": self._entry}
        for entry in self.client.history(**wanted):
            self._entry = entry.seq
            kept.append(entry)
        return tuple(kept)
