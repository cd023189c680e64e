"""When was a tag last seen on an interface, on a session's frame? By the kernel's clock of frames."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

from catenary.errors import Unavailable

_ETH_P_ALL, _SOL_PACKET = 0x0003, 263
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_PACKET_STATISTICS, _PACKET_AUXDATA = 6, 8
_AUXDATA, _TIME = struct.Struct("=IIIHHHH"), struct.Struct("=qq")
_ANCILLARY = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIME.size)
_VLAN_VALID, _CTAG, _IPV4, _VID = 1 << 4, 0x8100, 0x0800, 0xFFF
_ROOM = 256 << 20
_KEPT = 18


class TagsSeen:
    """A packet socket, from now on; what it has not been asked for yet waits in the kernel, with its time."""

    def __init__(self, device: str) -> None:
        self._last: dict[int, float] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setblocking(False)
        self._socket.bind((device, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def last(self, tag: int) -> float:
        """Unix time of the last IPv4 frame with this tag; probes of the kind `raw` are none.

        Raises `Unavailable` if there was none, or if frames were lost here.
        """
        with suppress(BlockingIOError):
            while True:
                self._note(*self._socket.recvmsg(_KEPT, _ANCILLARY)[:2])
        _, lost = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if lost:
            raise Unavailable(f"{lost} frames were not seen: the times of the others tell nothing")
        if tag not in self._last:
            raise Unavailable(f"no session's frame had the tag {tag}")
        return self._last[tag]

    def _note(self, frame: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        found = {(level, kind): data for level, kind, data in ancillary}
        status, _, _, _, _, tci, _ = _AUXDATA.unpack_from(found[_SOL_PACKET, _PACKET_AUXDATA])
        (ether_type,) = struct.unpack_from("!H", frame, 12)
        if not status & _VLAN_VALID and ether_type == _CTAG:
            tci, ether_type = struct.unpack_from("!HH", frame, 14)
        if ether_type == _IPV4:
            seconds, ns = _TIME.unpack(found[socket.SOL_SOCKET, _SO_TIMESTAMPNS])
            self._last[tci & _VID] = seconds + ns / 1e9
