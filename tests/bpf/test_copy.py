"""Pins out of a session table and into one: what a master that lost its own copies of its slave's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import numpy as np
import pytest

from catenary.session import End, SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter import balancer, records
from lb_adapter.balancer import ChainTable
from lb_adapter.core.oracle_pin import FOREIGN, Pin, State
from lb_adapter.dataplane.base import Load, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.records import PinRecords

SIZE = 4096
Plane = EbpfDataPlane | NativeDataPlane


def made(name: str, size: int) -> Plane:
    plane: Plane
    plane = EbpfDataPlane(pins=size) if name == "ebpf" else NativeDataPlane("af_packet", pins=size, threads=1)
    config = SpliceConfig("master", "outer", "inner", 4094, Timeouts())
    plane.configure(config, outer=11, inner=12)
    return plane


@pytest.fixture(params=["ebpf", "af_packet"])
def planes(request: pytest.FixtureRequest) -> Iterator[tuple[Plane, Plane]]:
    """A large one and a small one."""
    with ExitStack() as stack:
        both = made(request.param, SIZE), made(request.param, 1024)
        for plane in both:
            stack.callback(plane.close)
        yield both


def pins(count: int, seen: int, slot: int = 3) -> PinRecords:
    """Every third one of IPv6."""
    keys = []
    for number in range(count):
        client = f"fd00::{number:x}" if number % 3 == 0 else f"10.1.{number >> 8}.{number & 255}"
        server = "fd00:1::1" if number % 3 == 0 else "10.9.0.1"
        keys.append(SessionKey.of(End(ip_address(client), 1000), End(ip_address(server), 80), 6).pack())
    word = Pin(slot, 1, State.ESTABLISHED, seen).word().to_bytes(8, "little")
    return records.of(b"".join(keys), word * count)


def rows(batches: Iterator[PinRecords]) -> set[bytes]:
    return {row.tobytes() for batch in batches for row in batch}


def test_what_goes_in_comes_out(planes: tuple[Plane, Plane]) -> None:
    plane, _ = planes
    assert rows(plane.export(None)) == set()
    before = pins(SIZE // 2, seen=1000)
    assert plane.insert(before) == len(before)
    assert rows(plane.export(None)) == {row.tobytes() for row in before}
    again = pins(100, seen=2000, slot=4)
    assert plane.insert(again) == 100
    assert rows(plane.export(2000)) == {row.tobytes() for row in again}, (
        "it takes the place of what was there"
    )
    assert len(rows(plane.export(None))) == len(before)


def test_what_finds_no_room_is_left_out(planes: tuple[Plane, Plane]) -> None:
    large, small = planes
    large.insert(pins(SIZE, seen=1000))
    written = sum(small.insert(batch) for batch in large.export(None))
    kept = rows(small.export(None))
    assert written == len(kept)
    assert kept < rows(large.export(None))
    assert len(kept) >= 1024


def test_what_the_other_saw_takes_no_place(planes: tuple[Plane, Plane]) -> None:
    """Affinity rule 2, in 4096 records a time: what is absent comes in, what was seen here stays."""
    plane, _ = planes
    table = balancer.change(ChainTable(), add=[(TagPair(2, 3), 1)], ask_id=4094, now=0.0, transit=2.0)
    plane.apply(table)
    now = plane.now_ms()
    here, theirs = pins(100, seen=now, slot=0), pins(3 * SIZE // 4, seen=now - 5, slot=0)
    plane.insert(here)
    copy = records.Copy(1, now + 77, theirs)
    plane.take_in(records.foreign(copy, now))
    got = records.of(b"", b"")
    for batch in plane.export(None):
        got = np.concatenate([got, batch])
    foreign = got[records.field(got["word"], "outer") == FOREIGN]
    assert (len(got), len(foreign)) == (len(theirs), len(theirs) - 100)
    assert set(records.field(foreign["word"], "seen").tolist()) == {(now - 82) & 0xFFFFFFFF}
    assert rows(iter([records.own(got)])) == rows(iter([here]))
    assert plane.walk()[0] == Load(100, 100, len(foreign))
    gone = pins(1000, seen=now, slot=5)
    plane.take_in(records.foreign(records.Copy(1, now, gone), now))
    assert sum(map(len, plane.export(None))) == len(theirs), "a chain that is not here"


def test_the_clock_is_the_one_that_pins_age_by(planes: tuple[Plane, Plane]) -> None:
    plane, _ = planes
    first = plane.now_ms()
    assert np.int32(np.uint32((plane.now_ms() - first) & 0xFFFFFFFF)) in range(10_000)
