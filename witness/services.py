"""What services tell of a run, as the events and pins of its recording. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from catenary.session import SessionKey
from catenary.wire import HistoryEntry, SegmentSession
from witness.events import CHANGE, FAULT, Event, Pin

_REQUESTS = ("add", "remove", "cancel", "cordon", "uncordon", "weight", "rebalance", "insert")
"""Entries of the journal that ask for another chain set: each is a change. The rest is only told."""
EPOCH, WELL = "epoch", "well"


def happened(journal: Iterable[HistoryEntry], wall_ns: int) -> tuple[Event, ...]:
    """The entries of the management system's journal as events. `wall_ns`: Unix time minus their clock."""
    return tuple(_event(entry, int(entry.at * 1e9) - wall_ns) for entry in journal)


def _event(entry: HistoryEntry, time_ns: int) -> Event:
    """A change or a fault; of any other kind what the journal calls it."""
    if entry.kind == EPOCH:
        return Event(time_ns, EPOCH, _epoch(entry))
    if entry.kind == "fault":
        faults = {service: after for service, (_, after) in entry.changes.items()}
        said = (f"{service}: {fault or 'it answers again'}" for service, fault in faults.items())
        return Event(time_ns, FAULT if any(faults.values()) else WELL, ", ".join(said))
    asked = entry.kind in _REQUESTS
    state = None if asked else entry.changes.get("state", (None, None))[1]
    told = [entry.chain or entry.segment, state, entry.text]
    if entry.kind == "session":
        told += [f"{key}: {before} -> {after}" for key, (before, after) in entry.changes.items()]
    text = ", ".join(filter(None, told))
    if asked:
        return Event(time_ns, CHANGE, f"{entry.kind} {text}, by {entry.who}")
    return Event(time_ns, entry.kind, text)


def _epoch(entry: HistoryEntry) -> str:
    """Such as `7: 4-5 active weight 50, 6-7 gone`."""
    pairs = {pair: after for pair, (_, after) in entry.changes.items() if pair != EPOCH}
    said = (f"{pair} {_pair(after)}" for pair, after in sorted(pairs.items()))
    return f"{entry.changes[EPOCH][1]}: {', '.join(said)}"


def _pair(after: Mapping[str, object] | None) -> str:
    return f"{after['state']} weight {after['weight']}" if after else "gone"


class Held:
    """What was read of load balancers: of a pin, while it stays as it is, the first and the last reading."""

    def __init__(self) -> None:
        self._pins: dict[tuple[str, str], list[Pin]] = {}

    def read(self, lb: str, sessions: Iterable[SegmentSession], time_ns: int) -> None:
        """What a load balancer holds at a moment; what has no chain is no pin."""
        for session in sessions:
            if session.tags is None:
                continue
            chain, origin = session.chain or session.tags.pair().path, session.origin
            key = str(SessionKey.parse(session.key))
            pin = Pin(time_ns, lb, key, chain, origin.epoch, origin.cause.replace("_", " "))
            mine = self._pins.setdefault((lb, key), [])
            if [replace(old, time_ns=time_ns) for old in mine[-2:]] == [pin, pin]:
                mine.pop()
            mine.append(pin)

    def pins(self) -> tuple[Pin, ...]:
        """In order of time."""
        found = (pin for mine in self._pins.values() for pin in mine)
        return tuple(sorted(found, key=lambda pin: pin.time_ns))
