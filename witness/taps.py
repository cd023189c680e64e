"""The taps: BPF programs at tc clsact of the switch-side end of every tapped port.

All places must be in the network namespace of the caller. A tap holds and changes no packet, and lets every
other tc program decide. Attach after the ports have joined their switches.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from catenary import libbpf
from catenary.errors import InvalidValue
from catenary.session import Timeouts
from witness.events import Event
from witness.places import Place, PlaceKind, check_places
from witness.recording import COUNTS, INTO, ORIGIN, OUT_OF, RECORD, RECORD_KEY, Array, Recording

OBJECT = Path(__file__).parent / "bpf" / "tap.bpf.o"
HANDLE = 0xCA7
"""Of the tc filters, so that they stand beside those of others (which mostly take 1) at the same priority."""
_POINTS = ((libbpf.INGRESS, "tap_out_of"), (libbpf.EGRESS, "tap_into"))
_REASONS = ("sessions_full", "records_full", "unparsed", "unknown_place")
_CONFIG = "=QQQQQII"  # struct config
_SETTLE_NS = 5_000_000  # a packet's time stamp is this much older than its record at the most


@dataclass(frozen=True)
class Limits:
    """Room for sessions and for records (about eight a session), and idle times in seconds: a longer gap ends
    a session, and what follows on the same key is a new one. `tcp_idle` holds once TCP is established."""

    sessions: int = 1 << 18
    records: int = 1 << 21
    tcp_opening: float = 60.0
    tcp_idle: float = 7440.0
    tcp_closing: float = 10.0
    udp_idle: float = 120.0
    other_idle: float = 120.0

    @classmethod
    def of(cls, timeouts: Timeouts) -> Limits:
        """The idle times of a segment: what its load balancers promise, and not a second more."""
        return cls(
            tcp_opening=timeouts.tcp_opening,
            tcp_idle=timeouts.tcp_established,
            tcp_closing=timeouts.tcp_closing,
            udp_idle=timeouts.udp,
            other_idle=timeouts.other,
        )


@dataclass(frozen=True)
class Total:
    """All that passed a place one way: `octets` as on the wire, `payload` bytes of sessions, `others` frames
    that belong to none (ARP, ND, ICMP errors, multicast, later fragments)."""

    frames: int
    octets: int
    payload: int
    others: int


class Taps:
    """Taps at `places`, from `attach` (or entering the context) until `close`.

    A killed process leaves only filters, which go with the interface or with the next `attach`.
    """

    def __init__(self, places: Sequence[Place], limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.places = check_places(places)
        self._indices: dict[int, int] = {}
        self._begun = time.monotonic_ns()
        self._events: list[Event] = []
        self._object = libbpf.Object(
            OBJECT,
            max_entries={
                "currents": limits.sessions,
                "origins": limits.sessions,
                "records": limits.records,
            },
        )
        self._limits = limits
        idle = (limits.tcp_opening, limits.tcp_idle, limits.tcp_closing, limits.udp_idle, limits.other_idle)
        config = struct.pack(_CONFIG, *(int(seconds * 1e9) for seconds in idle), limits.sessions, 0)
        self._object.map("configs").set(bytes(4), config)

    def __enter__(self) -> Taps:
        try:
            self.attach()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def attach(self) -> None:
        """Attach all taps; raises `InvalidValue` for an interface that is not here."""
        for number, place in enumerate(self.places):
            try:
                index = socket.if_nametoindex(place.interface)
            except OSError:
                raise InvalidValue(
                    f"no interface {place.interface!r} for place {place.name!r} in this network namespace"
                ) from None
            self.bind(index, number)
            for point, name in _POINTS:
                self.program(name).attach(index, point, handle=HANDLE)
                self._indices[index] = number
        self._begun = time.monotonic_ns()

    def bind(self, ifindex: int, place: int) -> None:
        """Let packets of interface `ifindex` count for `places[place]`."""
        outer = self.places[place].kind is not PlaceKind.NF
        self._object.map("places").set(struct.pack("=I", ifindex), struct.pack("=HH", place, outer))

    def program(self, name: str) -> libbpf.Program:
        """`tap_into` or `tap_out_of`."""
        return self._object.program(name)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Packets that were not noted rightly, by reason: any of them spoils the verdict."""
        raw = self._object.map("missed", per_cpu=True).get(bytes(4)) or b""
        table = np.frombuffer(raw, dtype="u8").reshape(-1, len(_REASONS)).sum(axis=0)
        return {reason: int(count) for reason, count in zip(_REASONS, table, strict=True)}

    def totals(self) -> dict[tuple[str, int], Total]:
        """(place name, `INTO` or `OUT_OF`) -> all that passed so far; cheap to sample for throughput."""
        table = self._object.map("totals", per_cpu=True)
        found = {}
        for number, place in enumerate(self.places):
            for way in (INTO, OUT_OF):
                raw = table.get(struct.pack("=I", number * 2 + way)) or b""
                sums = np.frombuffer(raw, dtype="u8").reshape(-1, 4).sum(axis=0)
                found[place.name, way] = Total(*(int(value) for value in sums))
        return found

    def note(self, kind: str, text: str, chain: str = "") -> None:
        """Something that happens now, for the recording: see `witness.events`."""
        self._events.append(Event(time.monotonic_ns(), kind, text, chain))

    def snapshot(self, chains: Mapping[str, Sequence[str]] | None = None) -> Recording:
        """All that was seen until now; traffic may go on, the checker allows for it."""
        taken = time.monotonic_ns() - _SETTLE_NS
        keys, counts = bytearray(), bytearray()
        for some_keys, some_counts in self._object.map("records").batches():
            keys += some_keys
            counts += some_counts
        records = np.zeros(len(keys) // RECORD_KEY.itemsize, dtype=RECORD)
        records["key"] = np.frombuffer(bytes(keys), dtype=RECORD_KEY)
        records["counts"] = np.frombuffer(bytes(counts), dtype=COUNTS)
        return Recording(
            self.places,
            self._origins(),
            records,
            taken,
            self.dropped,
            {name: tuple(nfs) for name, nfs in (chains or {}).items()},
            events=tuple(self._events),
            begun_ns=self._begun,
            wall_ns=time.time_ns() - time.monotonic_ns(),
        )

    def _origins(self) -> Array:
        config = self._object.map("configs").get(bytes(4)) or b""
        used = min(struct.unpack(_CONFIG, config)[-1] + 1, self._limits.sessions)
        raw = bytearray()
        for _, values in self._object.map("origins").batches():
            raw += values
            if len(raw) >= used * ORIGIN.itemsize:
                break
        return np.frombuffer(bytes(raw), dtype=ORIGIN)[:used]

    def close(self) -> None:
        """Detach all taps and free the records; may be called twice."""
        for index in self._indices:
            for point, _ in _POINTS:
                libbpf.detach(index, point, handle=HANDLE)
        self._indices.clear()
        self._object.close()
