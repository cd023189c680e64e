"""Captures as IP packets: pcap and pcapng, plain or gzipped, of any link type that carries IP."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scapy.error import Scapy_Exception
from scapy.utils import RawPcapNgReader, RawPcapReader

from catenary.errors import InvalidValue
from experiments.replay import packets

FRAME_MAX = 1 << 18
NOT_IP, CUT, MALFORMED = (
    "not IP, such as ARP",
    "cut off by the capture's snap length",
    "malformed IP",
)
"""Why a frame is no packet."""
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_LITTLE, _BIG = (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"), (b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d")
_ORDERS = {**dict.fromkeys(_LITTLE, "<"), **dict.fromkeys(_BIG, ">")}
_HEAD = 24
_TAGS = (0x8100, 0x88A8, 0x9100)


@dataclass(frozen=True)
class Link:
    """Of a link type: where the EtherType stands (None: the packet tells by itself), and where IP begins."""

    name: str
    type_at: int | None
    ip_at: int


_ETHERNET = 1
LINKS = {
    _ETHERNET: Link("Ethernet", 12, 14),
    113: Link("Linux cooked", 14, 16),
    276: Link("Linux cooked v2", 0, 20),
    **{number: Link("raw IP", None, 0) for number in (12, 14, 101, 228, 229)},
    **{number: Link("loopback of BSD", None, 4) for number in (0, 108)},
}
"""By the numbers of https://www.tcpdump.org/linktypes.html."""


@dataclass(frozen=True)
class Packet:
    """An IP packet, seen at this Unix time (ns) under these VLAN IDs; `group`: sent to many at once."""

    time_ns: int
    data: bytes
    vlans: tuple[int, ...] = ()
    group: bool = False


@dataclass(frozen=True)
class Frame:
    """As a capture has it; `length` is what it had on the wire."""

    time_ns: int
    link: int
    data: bytes
    length: int


def read(path: Path) -> list[Frame]:
    """All frames of a capture, in its order.

    Raises `InvalidValue` for a file that is no capture, has no frames, ends within one, or has frames of an
    unknown link type.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidValue(f"--pcap {path}: can't be read: {error.strerror}") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise InvalidValue(f"--pcap {path}: is gzipped, but damaged: {error}") from None
    if not data:
        raise InvalidValue(f"--pcap {path}: is empty: name a capture, as `tcpdump -w` writes it")
    if data[:4] not in (*_ORDERS, _PCAPNG):
        raise InvalidValue(
            f"--pcap {path}: is neither pcap nor pcapng: it begins with {data[:4].hex()}; "
            "name a capture, as `tcpdump -w` writes it"
        )
    if not _whole(data):
        raise InvalidValue(
            f"--pcap {path}: ends within a frame: it was cut off, or is damaged; keep the whole ones by "
            f"`tcpdump -r {path} -w NEW.pcap`"
        )
    try:
        frames = list(_ng_frames(data) if data[:4] == _PCAPNG else _frames(data))
    except (Scapy_Exception, EOFError, struct.error) as error:
        raise InvalidValue(f"--pcap {path}: is damaged: {error}") from None
    if not frames:
        raise InvalidValue(f"--pcap {path}: has no frames: nothing was captured")
    for frame in frames:
        if frame.link not in LINKS:
            known = ", ".join(f"{number} ({link.name})" for number, link in sorted(LINKS.items()))
            raise InvalidValue(f"--pcap {path}: has frames of link type {frame.link}: use one of {known}")
    return frames


def _frames(data: bytes) -> Iterator[Frame]:
    reader = RawPcapReader(io.BytesIO(data))
    tick_ns, link = 1 if reader.nano else 1000, reader.linktype & 0x0FFFFFFF
    while found := _next(reader):
        frame, about = found
        yield Frame(about.sec * 1_000_000_000 + about.usec * tick_ns, link, frame, about.wirelen)


def _ng_frames(data: bytes) -> Iterator[Frame]:
    reader, time_ns = RawPcapNgReader(io.BytesIO(data)), 0
    while found := _next(reader):
        frame, about = found
        if about.tshigh is not None:  # simple packet blocks have no time
            time_ns = (about.tshigh << 32 | about.tslow) * 1_000_000_000 // about.tsresol
        yield Frame(time_ns, about.linktype, frame, about.wirelen)


def _next(reader: RawPcapReader) -> tuple[bytes, Any] | None:
    try:
        found: tuple[bytes, Any] = reader._read_packet(
            FRAME_MAX
        )  # its iterator cuts what is longer than 65,535 bytes
    except EOFError:
        return None
    return found


def _whole(data: bytes) -> bool:
    """Whether the file ends where a frame does: the library tells only its log."""
    at, step = (0, _block) if data[:4] == _PCAPNG else (_HEAD, _record)
    order = _ORDERS.get(data[:4], "")
    try:
        while at < len(data):
            order, size = step(data, at, order)
            at += size
    except struct.error:
        return False
    return at == len(data)


def _record(data: bytes, at: int, order: str) -> tuple[str, int]:
    """(byte order, bytes) of what stands at a place of a pcap."""
    return order, 16 + int(struct.unpack_from(f"{order}I", data, at + 8)[0])


def _block(data: bytes, at: int, order: str) -> tuple[str, int]:
    """The same for pcapng, of which each section has its own order."""
    if data[at : at + 4] == _PCAPNG:
        order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
    size = int(struct.unpack_from(f"{order}I", data, at + 4)[0])
    return order, max(size + -size % 4, 12)


def unwrap(frame: Frame) -> Packet | str:
    """The IP packet in a frame of one of `LINKS`, without tags; or why there is none."""
    link, data = LINKS[frame.link], frame.data
    at, vlans = link.ip_at, list[int]()
    if len(data) <= at:
        return MALFORMED
    kind = None if link.type_at is None else _short(data, link.type_at)
    while kind in _TAGS and len(data) > at + 4:
        vlans.append(_short(data, at) & 0xFFF)
        kind, at = _short(data, at + 2), at + 4
    packet = data[at:]
    if packets.ethertype(packet) is None or kind not in (None, packets.ethertype(packet)):
        return NOT_IP
    if len(packet) < (40 if packet[0] >> 4 == 6 else 20):
        return MALFORMED if frame.length <= len(data) else CUT
    size = packets.length(packet) or frame.length - at
    if size > len(packet):
        return MALFORMED if frame.length <= len(data) else CUT
    group = frame.link == _ETHERNET and data[0] & 1 == 1
    return Packet(frame.time_ns, packet[:size], tuple(vlans), group)


def _short(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
