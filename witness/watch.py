"""Asks the management system, while a run is recorded, what load balancers hold, and then what happened."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Self

from catenary.client import ManagementClient
from catenary.errors import CatenaryError, InvalidValue
from witness.recording import Recording
from witness.services import Held, happened

EVERY_S = 1.0
REST = 4.0
"""It rests for so many times as long as it took to look, if that is longer: services have other work."""
MOST = 200
"""So many sessions are read of a load balancer at a time: those that it has held for longest."""
SIDES = ("master", "slave")


class Looking(ABC):
    """Looks in a thread, from entering the context until its end.

    Between two looks it rests for `every_s` seconds, or for `rest` times as long as the last one took.
    """

    def __init__(self, every_s: float, rest: float = 0.0) -> None:
        self._every_s = every_s
        self._rest = rest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """May be called twice."""
        self._stop.set()
        self._thread.join()

    @abstractmethod
    def look(self) -> None: ...

    def _run(self) -> None:
        took = 0.0
        while not self._stop.wait(max(self._every_s, self._rest * took)):
            begun = time.monotonic()
            self.look()
            took = time.monotonic() - begun


class Watch(Looking):
    """Reads what both load balancers of a segment hold. What does not answer is `missing`, and no error."""

    def __init__(self, client: ManagementClient, segment: str) -> None:
        """Raises `InvalidValue` for a segment that is not there, and what the client raises."""
        super().__init__(EVERY_S, REST)
        segments = client.config().segments
        if segment not in segments:
            known = ", ".join(segments)
            raise InvalidValue(f"the management system knows no segment {segment!r}: it has {known}")
        self._client = client
        self._segment = segment
        self._lbs = (segments[segment].master, segments[segment].slave)
        self._held = Held()
        self._readings = 0
        self._faults: dict[str, list[str]] = {lb: [] for lb in self._lbs}
        self._crowded: set[str] = set()

    def look(self) -> None:
        self._readings += 1
        for lb, side in zip(self._lbs, SIDES, strict=True):
            now = time.monotonic_ns()
            try:
                found = self._client.sessions(segment=self._segment, at=side, limit=MOST)
                sessions = list(islice(found, MOST))
            except CatenaryError as error:
                self._faults[lb].append(error.detail)
            else:
                self._held.read(lb, sessions, now)
                self._crowded |= {lb} if len(sessions) == MOST else set()

    def told(self, recording: Recording, **wanted: str) -> Recording:
        """The recording with the pins read, the journal's events of its time, and what is missing.

        `wanted` narrows the journal, as `ManagementClient.history` takes it.
        """
        self.stop()
        self.look()
        missing = [*recording.missing, *self._missing()]
        events = recording.events
        begun = (recording.begun_ns + recording.wall_ns) / 1e9
        try:
            journal = list(self._client.history(since=begun, **wanted))
        except CatenaryError as error:
            missing.append(f"changes, epochs and faults of the journal: {error.detail}")
        else:
            events += happened(journal, recording.wall_ns)
        pins = (*recording.pins, *self._held.pins())
        return replace(recording, events=events, pins=pins, missing=tuple(missing))

    def _missing(self) -> list[str]:
        lines = []
        for lb, faults in self._faults.items():
            if faults:
                times = f"{len(faults)} of {self._readings} times"
                lines.append(f"what {lb} held, {times}, at last because {faults[-1]}")
            if lb in self._crowded:
                lines.append(f"what {lb} held of others than the {MOST} oldest sessions")
        return lines
