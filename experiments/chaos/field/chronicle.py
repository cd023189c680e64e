"""What happens in a stage, for its timeline and the witness's recording, and what the pair held meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from catenary.client import BalancerClient, ManagementClient
from catenary.errors import CatenaryError
from catenary.session import SessionKey
from catenary.wire import HistoryEntry
from experiments.chaos.field.timeline import Note
from witness.events import CHANGE, FAULT, Event
from witness.taps import Taps

EPOCH = "epoch"
_EVERY_S = 1.0
_LIVING = ("established", "udp")
"""States of the sessions that are held for long: those of crowds."""
_PAGE = 200


class Chronicle:
    """Every change and fault, when it was seen to be in force. Any thread may tell of one."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._lock = threading.Lock()
        self.notes: list[Note] = []

    def note(self, text: str) -> None:
        """For the timeline only."""
        with self._lock:
            self.notes.append(Note(time.monotonic(), text))

    def change(self, text: str) -> None:
        """A change of the chain set: it is counted."""
        self._taps.note(CHANGE, text)
        self.note(text)

    def fault(self, text: str) -> None:
        """A fault: it is counted, and the timeline has a row of its own for it."""
        self._taps.note(FAULT, text)


def epochs(journal: Iterable[HistoryEntry], wall_ns: int) -> tuple[Event, ...]:
    """The epochs that the management system's journal tells of, as events of a recording.

    `wall_ns`: Unix time minus the recording's clock.
    """
    return tuple(Event(int(entry.at * 1e9) - wall_ns, EPOCH, _epoch(entry)) for entry in journal)


def _epoch(entry: HistoryEntry) -> str:
    """Such as `7: 4-5 cooling, 6-7 gone`."""
    pairs = {pair: after for pair, (_, after) in entry.changes.items() if pair != EPOCH}
    said = (f"{pair} {after['state'] if after else 'gone'}" for pair, after in sorted(pairs.items()))
    return f"{entry.changes[EPOCH][1]}: {', '.join(said)}"


class Probes(Protocol):
    """Where chains, and the pins of their sessions, are asked about."""

    @property
    def management(self) -> ManagementClient: ...
    @property
    def master(self) -> BalancerClient: ...
    @property
    def slave(self) -> BalancerClient: ...


class Pins:
    """Reads once a second what both load balancers hold, from entering the context until its end.

    `lines` are what `catenary verify --pins` reads. Who does not answer is left out until it does.
    """

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._chains: dict[tuple[int, int], str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pins", daemon=True)
        self.lines: list[str] = []

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

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            with suppress(CatenaryError):
                chains = self._probes.management.chains()
                self._chains |= {(view.tags.forward, view.tags.reverse): view.name for view in chains}
            for lb, balancer in (("l1", self._probes.master), ("l2", self._probes.slave)):
                with suppress(CatenaryError):
                    self.lines += map(json.dumps, self._held(lb, balancer))

    def _held(self, lb: str, balancer: BalancerClient) -> Iterator[Mapping[str, object]]:
        known = balancer.pairs()
        generations = {(pair.forward, pair.reverse): pair.generation for pair in known.pairs}
        for state in _LIVING:
            entries = balancer.list_sessions(state=state, limit=_PAGE)
            now = time.monotonic()
            for entry in entries:
                pair = (entry.tags.forward, entry.tags.reverse) if entry.tags else (0, 0)
                if pair in generations:
                    yield {
                        "monotonic": now,
                        "lb": lb,
                        "key": str(SessionKey.parse(entry.key)),
                        "chain": self._chains.get(pair, f"{pair[0]}-{pair[1]}"),
                        "generation": generations[pair],
                        "epoch": known.epoch,
                    }
