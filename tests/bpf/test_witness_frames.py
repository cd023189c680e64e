"""The witness reads a frame of a pcap as its tap reads it on the wire."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frames import frames
from witness.frames import FRAME, OF_SESSION, OTHER, UNPARSED, parse
from witness.places import Place, PlaceKind
from witness.recording import INTO, session_key
from witness.taps import Limits, Taps

PLACES = (Place("l1", PlaceKind.OUTER_MASTER, "x"), Place("l2", PlaceKind.OUTER_SLAVE, "y"))
LOOPBACK, PAGE = 1, 3000


def runnable(frame: bytes) -> bool:
    """The kernel's test run wants a whole IP header if any, and no more than a page."""
    return {b"\x08\x00": 34, b"\x86\xdd": 54}.get(frame[12:14], 14) <= len(frame) <= PAGE


@dataclass
class Tap:
    """One tap, asked what it made of the last frame."""

    taps: Taps
    seen: int = 0

    def read(self, frame: bytes) -> tuple[int, str, int, int]:
        """(kind, session, from the high end, payload bytes)."""
        before, others = self.taps.dropped["unparsed"], self._others()
        self.taps.program("tap_into").run(frame, ifindex=LOOPBACK)
        if self.taps.dropped["unparsed"] > before:
            return UNPARSED, "", 0, 0
        if self._others() > others:
            return OTHER, "", 0, 0
        found = self.taps.snapshot()
        row = found.records[np.argmax(found.records["counts"]["last_ns"])]
        payload = self.taps.totals()["l1", INTO].payload - self.seen
        self.seen += payload
        return OF_SESSION, str(found.key(int(row["key"]["session"]))), int(row["key"]["from_high"]), payload

    def _others(self) -> int:
        return self.taps.totals()["l1", INTO].others


@pytest.fixture(scope="module")
def tap() -> Iterator[Tap]:
    taps = Taps(PLACES, Limits(sessions=4096, records=8192))
    taps.bind(LOOPBACK, 0)
    yield Tap(taps)
    taps.close()


def of_pcap(some: list[bytes]) -> list[tuple[int, str, int, int]]:
    """What the reader of pcaps makes of frames that lie one behind the other."""
    places = np.zeros(len(some), dtype=FRAME)
    places["kept"] = places["length"] = [len(frame) for frame in some]
    places["at"] = np.cumsum(places["kept"]) - places["kept"]
    return [
        (int(row["kind"]), str(session_key(row["key"])), int(row["from_high"]), int(row["payload"]))
        if row["kind"] == OF_SESSION
        else (int(row["kind"]), "", 0, 0)
        for row in parse(b"".join(some), places)
    ]


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(frames().filter(runnable), min_size=1, max_size=12))
def test_tap_and_reader_agree(tap: Tap, some: list[bytes]) -> None:
    assert of_pcap(some) == [tap.read(frame) for frame in some]


def test_what_the_pcap_cut_off_counts_by_the_headers() -> None:
    """A snap length keeps the headers; bytes are those that were on the wire."""
    head = bytes(12) + struct.pack(
        "!HBBHHHBBH4s4s", 0x0800, 0x45, 0, 1028, 1, 0, 64, 17, 0, b"\n\0\0\1", b"\n\0\0\2"
    )
    frame = head + struct.pack("!HHHH", 5, 6, 1008, 0)
    place = np.zeros(2, dtype=FRAME)
    place["kept"], place["length"] = (len(frame), len(head) + 3), 1042
    first, second = parse(frame, place)
    assert (first["kind"], first["payload"]) == (OF_SESSION, 1000)
    assert second["kind"] == UNPARSED, "no ports, so no session: it must not be guessed"
