"""Reads and writes classic pcap files of Ethernet frames, as `tcpdump -w` writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from catenary.errors import InvalidValue

_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""How a file begins -> its byte order, and the ns of a tick of its time stamps."""
MEDIA_TYPE = "application/vnd.tcpdump.pcap"
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_ETHERNET = 1
FRAME_MAX = 262144
HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, FRAME_MAX, _ETHERNET)
"""How a file with time stamps in ns begins; what `record` makes follows."""
_RECORD = struct.Struct("<IIII")


def record(time_ns: int, frame: bytes, length: int) -> bytes:
    """A frame that was seen at this Unix time, and had `length` bytes on the wire."""
    seconds, ns = divmod(time_ns, 1_000_000_000)
    return _RECORD.pack(seconds, ns, len(frame), length) + frame


def whole_records(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """From what comes of such a file, in any pieces: its header, then record by record."""
    left, begun = b"", False
    for piece in pieces:
        left += piece
        while len(left) >= (size := _first(left) if begun else len(HEADER)):
            yield left[:size]
            left, begun = left[size:], True


def _first(records: bytes) -> int:
    """Bytes of the first record, or of what of it must be there to tell."""
    kept = _RECORD.unpack_from(records)[2] if len(records) >= _RECORD.size else 0
    return _RECORD.size + int(kept)


class Pcap:
    """A file, read whole into `data`. Raises `InvalidValue` unless it is a classic pcap of Ethernet."""

    def __init__(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InvalidValue(f"can't read {path}: {error.strerror}") from None
        if data[:4] == _PCAPNG:
            raise InvalidValue(f"{path} is pcapng: convert it with `editcap -F pcap {path} OUT.pcap`")
        if data[:4] not in _MAGIC or len(data) < 24:
            raise InvalidValue(f"{path} is no pcap file: it begins with {data[:4].hex() or 'nothing'}")
        self.path = path
        self.data = data
        self._order, self._tick_ns = _MAGIC[data[:4]]
        link = struct.unpack(f"{self._order}I", data[20:24])[0] & 0x0FFFFFFF
        if link != _ETHERNET:
            raise InvalidValue(f"{path} has frames of link type {link}: only Ethernet (1) can be read")

    def frames(self) -> Iterator[tuple[int, int, int, int]]:
        """(Unix time in ns, offset in `data`, bytes kept, bytes on the wire) of each frame.

        Raises `InvalidValue` after the last whole frame when the file ends within one.
        """
        header = struct.Struct(f"{self._order}IIII")
        tick_ns, size = self._tick_ns, len(self.data)
        at, number = 24, 0
        while at < size:
            seconds, ticks, kept, length = header.unpack_from(self.data, at) if at + 16 <= size else (0,) * 4
            if at + 16 + kept > size or kept > FRAME_MAX:
                raise InvalidValue(
                    f"{self.path} ends within frame {number + 1}: it was cut off, or is damaged; "
                    f"{number} frames were read"
                )
            yield seconds * 1_000_000_000 + ticks * tick_ns, at + 16, kept, length
            at += 16 + kept
            number += 1
