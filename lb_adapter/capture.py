"""A copy of what one chain gets and gives at the inner port, as a pcap that is streamed while it comes.

A packet socket beside the data plane: it holds no frame up, and what it is too slow for is lost to it alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import structlog

from catenary import pcap
from catenary.errors import Conflict, Unsupported
from catenary.session import SessionKey
from lb_adapter.core.oracle import FragmentKey, FrameClass, parse
from lb_adapter.socket_filter import addresses_of, program

PORTION = 256
"""Frames taken from the socket before others of this process have their turn."""
BUFFER = 8 << 20
FRAGMENTS = 1024
_ETH_P_ALL, _SOL_PACKET = 0x0003, 263
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_PACKET_STATISTICS, _PACKET_AUXDATA = 6, 8
_AUXDATA = struct.Struct("=IIIHHHH")
_VLAN_VALID, _TPID_VALID = 1 << 4, 1 << 6
_CTAG = 0x8100
_TIME = struct.Struct("=qq")
_ANCILLARY = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIME.size)
_ROW = 8

log = structlog.get_logger("lb_adapter")


@dataclass(frozen=True)
class Wanted:
    """Frames of one chain, or of one session in it. `sent` and `received` are its VLAN IDs at this port."""

    sent: int
    received: int
    key: SessionKey | None = None


@dataclass(frozen=True)
class Limits:
    """When a capture ends, whatever comes first."""

    seconds: float
    packets: int
    bytes: int = 1 << 30


class Frames:
    """Which frames are of the session that is wanted; later fragments follow their first one."""

    def __init__(self, key: SessionKey | None) -> None:
        self._key = key
        self._fragments: dict[FragmentKey, None] = {}

    def match(self, frame: bytes) -> bool:
        """`frame` is without the chain's tag."""
        if self._key is None:
            return True
        parsed = parse(frame)
        if parsed.kind is FrameClass.FRAGMENT:
            return parsed.fragment in self._fragments
        if parsed.key != self._key:
            return False
        if parsed.fragment is not None:
            self._fragments[parsed.fragment] = None
            if len(self._fragments) > FRAGMENTS:
                del self._fragments[next(iter(self._fragments))]
        return True


class Capture:
    """Open from the beginning, so that nothing is missed; `stream` closes it at its end."""

    def __init__(self, device: str, wanted: Wanted, limits: Limits) -> None:
        self._wanted, self._limits, self._device = wanted, limits, device
        self._frames = Frames(wanted.key)
        self._packets = self._bytes = 0
        self._socket = _open(device, _filter(wanted))

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        self._socket.close()

    async def stream(self) -> AsyncIterator[bytes]:
        """The file as it grows. Whoever stops to read it ends it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.seconds
        try:
            yield pcap.HEADER
            while not self._full() and await _readable(self._socket, deadline - loop.time()):
                records = b"".join(self._records())
                if records:
                    yield records
        finally:
            seen, lost = struct.unpack(
                "=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, struct.calcsize("=II"))
            )
            self.close()
            log.info(
                "capture ended",
                device=self._device,
                packets=self._packets,
                bytes=self._bytes,
                lost=lost,
                seen=seen,
            )

    def _full(self) -> bool:
        return self._packets >= self._limits.packets or self._bytes >= self._limits.bytes

    def _records(self) -> Iterator[bytes]:
        """Of a portion of what has come."""
        for _ in range(PORTION):
            if self._full():
                return
            try:
                data, ancillary, _, _ = self._socket.recvmsg(pcap.FRAME_MAX, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:  # the port went down: it may come back
                log.warning("capture", device=self._device, reason=error.strerror)
                return
            frame, length, time_ns = _read(data, ancillary)
            if self._frames.match(frame[:12] + frame[16:]):
                self._packets, self._bytes = self._packets + 1, self._bytes + len(frame)
                yield pcap.record(time_ns, frame, length)


async def _readable(sock: socket.socket, timeout: float) -> bool:
    if timeout <= 0:
        return False
    loop = asyncio.get_running_loop()
    come = loop.create_future()
    loop.add_reader(sock, lambda: None if come.done() else come.set_result(None))
    try:
        await asyncio.wait_for(come, timeout)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(sock)
    return True


def _filter(wanted: Wanted) -> bytes:
    key = wanted.key
    if key is None or key.kind > 255:
        return program(wanted.sent, wanted.received)
    tags = sum(vid > 0 for vid in key.vlans)
    return program(wanted.sent, wanted.received, addresses_of((key.low.address, key.high.address)), tags)


def _open(device: str, rows: bytes) -> socket.socket:
    """Bound last: a frame that came before the filter would stay."""
    try:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise Unsupported("captures need CAP_NET_RAW: run the load balancer as root") from None
    try:
        made.setblocking(False)
        memory = ctypes.create_string_buffer(rows)
        filter_program = struct.pack("HL", len(rows) // _ROW, ctypes.addressof(memory))
        made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_program)
        made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        made.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        made.bind((device, _ETH_P_ALL))
    except OSError as error:
        made.close()
        raise Conflict(f"interface {device} can't be captured from: {error.strerror}") from error
    return made


def _read(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> tuple[bytes, int, int]:
    """A frame with the chain's tag in its place, its length on the wire, and its Unix time in ns."""
    found = {kind: raw for _, kind, raw in ancillary}
    status, length, _, _, _, tci, tpid = _AUXDATA.unpack_from(found[_PACKET_AUXDATA])
    seconds, ns = _TIME.unpack_from(found[_SO_TIMESTAMPNS])
    if status & _VLAN_VALID:
        tag = struct.pack("!HH", tpid if status & _TPID_VALID else _CTAG, tci)
        data, length = data[:12] + tag + data[12:], length + len(tag)
    return data, length, seconds * 1_000_000_000 + ns
