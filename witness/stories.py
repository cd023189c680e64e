"""Tells of single sessions: findings, and the shortest counter-example with what lay around it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from witness.events import FAULT
from witness.example import Example, Line, around, crossing, explained, window
from witness.recording import INTO, Array, Recording
from witness.sides import side_name
from witness.sightings import DIRECTIONS, FORWARD, REVERSE, Sightings
from witness.verdict import Finding

_FLAGS = {0x02: "SYN", 0x01: "FIN", 0x04: "RST", 0x08: "PSH", 0x10: "ACK"}


def stop_name(place: str, way: int) -> str:
    """Such as `into n1.ingress`."""
    return f"{'into' if way == INTO else 'out of'} {place}"


class Stories:
    """The sessions of a recording packet by packet; of a record of many, the first and the last are known."""

    def __init__(self, recording: Recording, chains: Mapping[str, tuple[str, ...]], rows: Sightings) -> None:
        self._recording = recording
        self._chains = chains
        self._rows = rows
        self._nfs = [place.nf for place in recording.places]
        self._events = sorted(recording.events, key=lambda event: event.time_ns)
        self._pins = sorted(recording.pins, key=lambda pin: pin.time_ns)

    def finding(self, session: int, text: str, told: int = 0) -> Finding:
        """Of a session, with the sizes that sort it: `told` by so many packets."""
        rows = self._rows.of(session)
        size = int(self._rows.loaded[rows].sum() + self._rows.bare[rows].sum())
        return Finding(session, self._recording.key(session), size, text, told, self._side(session))

    def crossed(self, session: int) -> Finding:
        """The finding on a session that no one chain explains."""
        times, records, _ = self._packets(session)
        matter = crossing(self._nfs_of(records), self._chains)
        words = []
        for number, at in enumerate(matter):
            nf = self._nfs_of(records[[at]])[0]
            since = (int(times[at]) - int(times[matter[number - 1]])) / 1e6
            later = f"{since:.3f} ms later " if number else ""
            words.append(f"{later}{self._direction(records[at])} at {nf} ({self._owners(nf)})")
        return self.finding(session, "; ".join(words), len(matter))

    def outlived(self, session: int, slack_ns: int) -> bool:
        """Whether it crossed only because faults killed its chains: inside before each, outside after it."""
        rows = self._rows.of(session)
        nfs = np.array([self._nfs[place] for place in self._rows.place[rows]], dtype=object)
        first, last = self._rows.first_ns[rows], self._rows.last_ns[rows]
        alive = nfs != ""
        for fault in self._events:
            mine = self._chains.get(fault.chain, ()) if fault.kind == FAULT else ()
            shared = {nf for name, some in self._chains.items() if name != fault.chain for nf in some}
            inside = alive & np.isin(nfs, [nf for nf in mine if nf not in shared])
            outside = alive & ~np.isin(nfs, list(mine))
            if inside.any() and outside.any():
                died = last[inside].max() <= fault.time_ns + slack_ns
                if died and first[outside].min() >= fault.time_ns:
                    alive &= ~inside
        return explained(set(nfs[alive]), self._chains)

    def example(self, finding: Finding) -> Example:
        """The session's packets that matter and those around them, with events and its own pins."""
        times, records, flags = self._packets(finding.session)
        matter = crossing(self._nfs_of(records), self._chains)
        shown = window(len(times), matter)
        lines = [
            Line(int(times[at]), "packet", self._words(records[at], int(flags[at])), at in matter)
            for at in shown
        ]
        span = lines[0].time_ns, lines[-1].time_ns
        mine = [pin for pin in self._pins if pin.key == str(finding.key)]
        lines += [Line(e.time_ns, "event", str(e)) for e in around(self._events, *span)]
        lines += [Line(pin.time_ns, "pin", str(pin)) for pin in around(mine, *span)]
        rows = tuple(sorted(lines, key=lambda line: line.time_ns))
        return Example(finding.name, finding.text, rows, finding.size - len(shown))

    @cached_property
    def _sorted(self) -> tuple[Array, Array]:
        """The records that are judged, by session, and the session of each."""
        records = self._recording.records
        records = records[records["counts"]["first_ns"] <= self._recording.taken_ns]
        records = records[np.argsort(records["key"]["session"], kind="stable")]
        return records, np.ascontiguousarray(records["key"]["session"].astype(np.int64))

    def _packets(self, session: int) -> tuple[Array, Array, Array]:
        """(times, records, TCP flags) of all packets of a session that are known, in order of time."""
        sorted_records, sessions = self._sorted
        low, high = np.searchsorted(sessions, [session, session + 1])
        records = sorted_records[low:high]
        counts = records["counts"]
        more = counts["loaded"] + counts["bare"] > 1
        times = np.concatenate((counts["first_ns"], counts["last_ns"][more]))
        flags = np.concatenate((counts["first_flags"], counts["last_flags"][more]))
        order = np.argsort(times, kind="stable")
        return times[order], np.concatenate((records, records[more]))[order], flags[order]

    def _nfs_of(self, records: Array) -> list[str]:
        return [self._nfs[place] for place in records["key"]["place"]]

    def _words(self, record: Array, flags: int) -> str:
        key, counts = record["key"], record["counts"]
        place = self._recording.places[int(key["place"])]
        parts = [self._direction(record), stop_name(place.name, int(key["way"]))]
        parts += [" ".join(name for bit, name in _FLAGS.items() if flags & bit)] if flags else []
        if counts["loaded"] + counts["bare"] == 1:
            parts.append(f"{counts['bytes']} bytes")
        return ", ".join(parts) + (f"  [{self._owners(place.nf)}]" if place.nf else "")

    def _direction(self, record: Array) -> str:
        session = int(record["key"]["session"])
        if not self._rows.outside[session]:
            return "a packet"
        high = bool(record["key"]["from_high"])
        return DIRECTIONS[FORWARD if high == self._rows.client_high[session] else REVERSE]

    def _owners(self, nf: str) -> str:
        return ", ".join(name for name, nfs in self._chains.items() if nf in nfs) or "of no chain"

    def _side(self, session: int) -> str:
        return side_name(int(self._recording.origins[session]["key"]["side"]))
