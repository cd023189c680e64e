"""The user-space splice on the cases of tests/bpf/test_splice.py and test_full_table.py.

Each case runs twice: with the outermost tag in line, and beside the frame as the kernel hands it over.
"""

from __future__ import annotations

import inspect
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from catenary.session import Timeouts
from lb_adapter import abi
from lb_adapter.dataplane.base import Role, SpliceConfig
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.segment import ffi
from tests.bpf import test_full_table, test_splice
from tests.splice_bench import HOURS, INNER, OUTER, PAIRS, REASON_NAMES, Bench, table, tcp
from topologies.services import wait_until

HEADROOM = 64
CSUM_START, HEADERS = 34, 54
PORTS = {1: OUTER, 2: INNER}


class NativeBench(Bench):
    """The same words over `splice_frame` of native/library.c."""

    def __init__(self, role: Role, beside: bool) -> None:
        self.native = NativeDataPlane("af_packet", pins=1024)
        self.plane: Any = self.native
        self.role = role
        self.beside = beside
        self.configure(HOURS)
        self.plane.apply(table(*PAIRS))

    def _run(self, program: str, frame: bytes) -> tuple[str, int, int]:
        tpid = tci = 0
        if self.beside and frame[12:14] in (b"\x81\x00", b"\x88\xa8"):
            tpid, tci = struct.unpack("!HH", frame[12:16])
            frame = frame[:12] + frame[16:]
        buffer = ffi.new("uint8_t[]", HEADROOM + 2048)
        ffi.buffer(buffer)[HEADROOM : HEADROOM + len(frame)] = frame
        length, verdict = ffi.new("uint32_t *", len(frame)), ffi.new("uint16_t[5]")
        vnet = ffi.new("struct virtio_net_hdr *", {"flags": 1, "hdr_len": HEADERS, "csum_start": CSUM_START})
        segment = self.native.segment
        begin = segment.lib.splice_frame(
            segment.pointer, 1 if program == "outer" else 2, buffer, length, tpid, tci, vnet, verdict
        )
        port, vid, reason, _, _ = verdict
        if port == 0:
            return REASON_NAMES[reason], 0, 0
        out = bytes(ffi.buffer(buffer)[begin : begin + length[0]])
        grown = len(out) - len(frame)
        assert (vnet.csum_start, vnet.hdr_len) == (CSUM_START + grown, HEADERS + grown)
        if vid:
            assert out[12:16] == struct.pack("!HH", 0x8100, vid)
            out = out[:12] + out[16:]
        self.out = out
        return REASON_NAMES[reason], vid, PORTS[port]


@pytest.fixture(params=[False, True], ids=["in-line", "beside"])
def beside(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def master(beside: bool) -> Iterator[Bench]:
    bench = NativeBench("master", beside)
    yield bench
    bench.plane.close()


@pytest.fixture
def slave(beside: bool) -> Iterator[Bench]:
    bench = NativeBench("slave", beside)
    yield bench
    bench.plane.close()


def _of_any_data_plane(case: Callable[..., None]) -> bool:
    """Does it keep to what all data planes offer? Some look into the BPF maps."""
    return "plane.object" not in inspect.getsource(case)


globals().update(
    {
        name: case
        for name, case in (vars(test_splice) | vars(test_full_table)).items()
        if name.startswith("test_") and inspect.isfunction(case) and _of_any_data_plane(case)
    }
)


def test_what_expired_is_replaced_in_place_and_then_reclaimed(master: Bench) -> None:
    short = Timeouts(lease=0.0625, transit=0.05, tcp_closing=0.1, tcp_opening=0.05)
    master.configure(short)
    master.outer(tcp())
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() > begun + 0.3, "no time passes")
    master.outer(tcp())
    assert master.count("session_revived") == 1
    segment = master.plane.segment
    assert segment.lib.segment_used(segment.pointer, 0) == 1
    wait_until(lambda: sum(load.pins for load in master.plane.walk().values()) == 0, "pins live on")
    assert segment.lib.segment_used(segment.pointer, 0) == 0


@pytest.mark.parametrize("v6", [False, True])
def test_frame_cut_short_anywhere_is_dropped_and_counted(master: Bench, v6: bool) -> None:
    frame = bytes(tcp(v6=v6))
    for size in range(14, len(frame)):
        assert master._run("outer", frame[:size]) == ("drop_malformed", 0, 0), size
        tagged = frame[:12] + b"\x81\x00\x00\x03" + frame[12:size]
        assert master._run("inner", tagged) == ("drop_malformed", 0, 0), size
    for size in range(14):
        assert master._run("outer", frame[:size])[0] == "drop_malformed"
        assert master._run("inner", frame[:size])[0] == "drop_untagged"


def test_large_frame_counts_as_the_packets_that_it_stands_for() -> None:
    plane = NativeDataPlane("af_packet", pins=1024)
    plane.configure(SpliceConfig("master", "o", "i", 4094, HOURS), outer=OUTER, inner=INNER)
    plane.apply(table(*PAIRS[:1]))
    frame = bytes(tcp(flags="A") / bytes(5000))
    buffer = ffi.new("uint8_t[]", HEADROOM + len(frame))
    ffi.buffer(buffer)[HEADROOM:] = frame
    length, verdict = ffi.new("uint32_t *", len(frame)), ffi.new("uint16_t[5]")
    fields = {"flags": 1, "gso_type": 1, "gso_size": 1448, "hdr_len": 54, "csum_start": 34, "csum_offset": 16}
    vnet = ffi.new("struct virtio_net_hdr *", fields)
    lib = plane.segment.lib
    lib.splice_frame(plane.segment.pointer, 1, buffer, length, 0, 0, vnet, verdict)
    assert verdict[2] == abi.REASONS["to_chain"]
    assert plane.traffic()[0].forward_packets == 4
    assert plane.traffic()[0].forward_bytes == len(frame)
    plane.close()
