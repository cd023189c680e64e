"""IP packets as bytes: how long one is, whether its checksums are right, how it is cut to fit. Pure.

A capture that was taken on a host with offloads holds packets that never were on a wire like that: longer
than the MTU, because the network card would have cut them, and without the checksums that it would have
filled in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from scapy.utils import checksum

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
IPV4, IPV6 = 0x0800, 0x86DD
LONGEST = 65535
"""What the length of an IPv4 packet can tell; that of IPv6 tells as much behind the 40 bytes of its head."""
_HEAD6 = 40
_SUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80


def ethertype(data: bytes) -> int | None:
    """What a packet is, by its first byte; None if it is no IP."""
    return {4: IPV4, 6: IPV6}.get(data[0] >> 4) if data else None


def length(data: bytes) -> int:
    """Bytes of the IP packet that `data` begins with, as it says itself; 0 for one that an offload left open.

    `data` must have the whole head.
    """
    if data[0] >> 4 == 4:
        return _short(data, 2)
    return _HEAD6 + _short(data, 4) if _short(data, 4) else 0


def corrected(data: bytes) -> bytes:
    """The packet with right checksums; the same object if they were.

    Of a fragment, and behind extension headers of IPv6, only the head is looked at.
    """
    if data[0] >> 4 == 4:
        head = (data[0] & 15) * 4
        if checksum(data[:head]):
            data = _patched(data, 10, checksum(data[:10] + bytes(2) + data[12:head]))
        protocol, ends, fragment = data[9], data[12:20], _short(data, 6) & 0x3FFF != 0
    else:
        head, protocol, ends, fragment = _HEAD6, data[6], data[8:_HEAD6], False
    at, above = _SUM_AT.get(protocol), data[head:]
    if at is None or fragment or len(above) < at + 2:
        return data
    if protocol == UDP and len(ends) == 8 and above[6:8] == bytes(2):
        return data  # over IPv4 there may be none
    pseudo = b"" if protocol == ICMP else ends + struct.pack("!II", protocol, len(above))
    if checksum(pseudo + above) == 0:
        return data
    value = checksum(pseudo + above[:at] + bytes(2) + above[at + 2 :])
    return _patched(data, head + at, value or (0xFFFF if protocol == UDP else 0))


def fitted(data: bytes, mtu: int) -> list[bytes]:
    """The packet in pieces of at most `mtu` bytes: itself, TCP segments, or none if it can't be cut.

    Segments are what a network card makes of one packet, with right checksums.
    """
    if len(data) <= mtu:
        return [data]
    first = data[0] >> 4 == 4
    head = (data[0] & 15) * 4 if first else _HEAD6
    protocol = data[9] if first else data[6]
    if protocol != TCP or (first and _short(data, 6) & 0x3FFF) or len(data) < head + 20:
        return []
    begin = head + (data[head + 12] >> 4) * 4
    room = mtu - begin
    return list(_segments(data, head, begin, room)) if room > 0 else []


def _segments(data: bytes, head: int, begin: int, room: int) -> Iterator[bytes]:
    """Of a packet whose TCP begins at `head` and its payload at `begin`: segments with `room` bytes each."""
    sequence = struct.unpack_from("!I", data, head + 4)[0]
    flags, payload = data[head + 13], data[begin:]
    for number, at in enumerate(range(0, len(payload), room)):
        piece = bytearray(data[:begin] + payload[at : at + room])
        if data[0] >> 4 == 4:
            struct.pack_into("!HH", piece, 2, len(piece), (_short(data, 4) + number) & 0xFFFF)
        else:
            struct.pack_into("!H", piece, 4, len(piece) - _HEAD6)
        struct.pack_into("!I", piece, head + 4, (sequence + at) & 0xFFFFFFFF)
        last = at + room >= len(payload)
        piece[head + 13] = flags & ~(0 if last else _FIN | _PSH) & ~(_CWR if number else 0)
        yield corrected(bytes(piece))


def _short(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


def _patched(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("!H", value) + data[at + 2 :]
