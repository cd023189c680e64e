"""A recording from pcaps: one file for each tapped port, or two, one for each way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from catenary.errors import InvalidValue
from catenary.pcap import Pcap
from catenary.session import Timeouts
from witness.frames import FRAME, OF_SESSION, PARSED, UNPARSED, parse
from witness.numbering import clients_of, group, incarnations
from witness.places import Place, PlaceKind, Side, check_places
from witness.recording import INTO, OUT_OF, RECORD, Array, Recording
from witness.sightings import ACK, SYN

BOTH = -1
WAYS = {"": BOTH, "into": INTO, "out-of": OUT_OF}
"""What may follow the name of a place: `tcpdump -Q out` sees what goes into a device, `-Q in` what comes
out."""
_PACKET = np.dtype(
    [("time_ns", "i8"), ("place", "u2"), ("way", "i1"), *((n, PARSED[n]) for n in PARSED.names or ())]
)


@dataclass(frozen=True)
class Tap:
    """A file and where it was recorded; `way` is `INTO`, `OUT_OF`, or `BOTH`."""

    path: Path
    place: str
    way: int = BOTH

    @classmethod
    def named(cls, name: str, path: Path) -> Tap:
        """`name`: a place, and perhaps `.into` or `.out-of`."""
        place, _, way = name.rpartition(".")
        return cls(path, place, WAYS[way]) if place and way in WAYS else cls(path, name)


@dataclass(frozen=True)
class Reading:
    """What the files held. `broken`: of each file that ends within a frame, which and how far it was read."""

    recording: Recording
    broken: tuple[str, ...]


def read_pcaps(
    taps: Sequence[Tap],
    places: Sequence[Place],
    timeouts: Timeouts,
    *,
    skew_s: float = 2.0,
    partial: bool = False,
) -> Reading:
    """Read all `taps`, each at one of `places`.

    The clock of all files must be one; they may begin `skew_s` apart. Raises `InvalidValue` for what is no
    pcap, for a place that is not among `places`, for one that lacks a way, and, unless `partial`, for a file
    that ends within a frame. A `partial` recording ends with the first file that breaks off.
    """
    known = {place.name for place in places}
    for tap in taps:
        if tap.place not in known:
            raise InvalidValue(f"{tap.path} is of {tap.place!r}, which is none of {', '.join(sorted(known))}")
    places = check_places([place for place in places if any(tap.place == place.name for tap in taps)])
    _check_ways(taps, places)
    numbers = {place.name: number for number, place in enumerate(places)}
    parts, broken, ends = [], [], []
    for tap in taps:
        frames, pcap, fault = _frames(tap.path)
        if fault:
            if not partial:
                raise InvalidValue(f"{fault} (--partial judges the run until there)")
            broken.append(fault)
            ends.append(int(frames["time_ns"].max(initial=0)))
        part = np.zeros(len(frames), dtype=_PACKET)
        parsed = parse(pcap.data, frames)
        for name in PARSED.names or ():
            part[name] = parsed[name]
        part["time_ns"], part["place"], part["way"] = frames["time_ns"], numbers[tap.place], tap.way
        parts.append(part)
    packets = np.concatenate(parts)
    end = min(ends, default=int(packets["time_ns"].max(initial=0)))
    begun = int(packets["time_ns"].min(initial=end)) + int(skew_s * 1e9)
    recording = _recording(packets, places, timeouts)
    return Reading(replace(recording, taken_ns=end, begun_ns=begun), tuple(broken))


def _check_ways(taps: Sequence[Tap], places: Sequence[Place]) -> None:
    for place in places:
        ways = {tap.way for tap in taps if tap.place == place.name}
        if ways != {BOTH} and ways != {INTO, OUT_OF}:
            raise InvalidValue(
                f"{place.name} needs one pcap of both ways, or two, {place.name}.into and {place.name}.out-of"
            )
        if ways == {BOTH} and place.side is Side.BOTH and place.kind is PlaceKind.NF:
            raise InvalidValue(
                f"{place.name} is the only port of its NF: record each way alone, {place.name}.into "
                f"(tcpdump -Q out) and {place.name}.out-of (tcpdump -Q in)"
            )


def _frames(path: Path) -> tuple[Array, Pcap, str]:
    """The frames of a file, and how it breaks off."""
    pcap, faults = Pcap(path), list[str]()

    def whole() -> Iterator[tuple[int, int, int, int]]:
        try:
            yield from pcap.frames()
        except InvalidValue as error:
            faults.append(str(error))

    return np.fromiter(whole(), dtype=FRAME), pcap, "".join(faults)


def _recording(packets: Array, places: tuple[Place, ...], timeouts: Timeouts) -> Recording:
    unparsed = int((packets["kind"] == UNPARSED).sum())
    packets = packets[packets["kind"] == OF_SESSION]
    kinds, sides = (
        np.array([getattr(p, name) for p in places])[packets["place"]] for name in ("kind", "side")
    )
    master, outer = kinds == PlaceKind.OUTER_MASTER, kinds != PlaceKind.NF
    keys, size = group(packets["key"])
    into = np.where(packets["way"] == BOTH, BOTH, packets["way"] == INTO)
    client_high = clients_of(keys, size, packets, master, outer, into)
    forward = (packets["from_high"] != 0) == client_high[keys]
    entering = forward == (master | (sides == Side.INGRESS))
    way = np.where(packets["way"] == BOTH, np.where(entering, INTO, OUT_OF), packets["way"])
    opening = outer & (way == INTO) & (packets["flags"] & (SYN | ACK) == SYN)
    numbers, origins = incarnations(keys, packets, opening, timeouts)
    records = np.zeros(len(packets), dtype=RECORD)
    key, counts = records["key"], records["counts"]
    key["session"], key["place"], key["way"] = numbers, packets["place"], way
    key["from_high"] = packets["from_high"]
    counts["first_ns"] = counts["last_ns"] = packets["time_ns"]
    counts["loaded"], counts["bare"] = packets["payload"] > 0, packets["payload"] == 0
    counts["bytes"] = packets["payload"]
    counts["first_flags"] = counts["last_flags"] = packets["flags"]
    return Recording(places, origins, records, 0, {"unparsed": unparsed})
