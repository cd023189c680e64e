"""The oracle of `reset.h`: the RST that answers a TCP packet, in plain Python (RFC 9293, 3.10.7.1)."""

from __future__ import annotations

import struct

from lb_adapter.core.oracle import IPV6, TAGS, TCP
from lb_adapter.core.oracle_pin import ACK, FIN, RST, SYN

HOPS = 64
DONT_FRAGMENT = 0x4000


def answer(frame: bytes, upper: int) -> bytes:
    """The answer to `frame`, whose TCP header begins `upper` bytes after its IP header; its tags stay."""
    at = 14
    while int.from_bytes(frame[at - 2 : at], "big") in TAGS and at < 22:
        at += 4
    link, ip = frame[6:12] + frame[:6] + frame[12:at], frame[at:]
    v6 = int.from_bytes(frame[at - 2 : at], "big") == IPV6
    size = 40 + int.from_bytes(ip[4:6], "big") if v6 else int.from_bytes(ip[2:4], "big")
    source, target = (ip[8:24], ip[24:40]) if v6 else (ip[12:16], ip[16:20])
    tcp = _tcp(ip[upper : upper + 20], size - upper)
    pseudo = target + source + struct.pack("!HHHH", 0, len(tcp), 0, TCP)
    tcp = tcp[:16] + checksum(pseudo + tcp) + tcp[18:]
    return link + (_ipv6 if v6 else _ipv4)(target, source) + tcp


def _tcp(header: bytes, size: int) -> bytes:
    """Header of the answer, without checksum, to a segment of `size` bytes with this header."""
    source, target, sequence, acknowledged, offset, flags = struct.unpack("!HHIIBB", header[:14])
    if flags & ACK:
        return struct.pack("!HHIIBBHHH", target, source, acknowledged, 0, 5 << 4, RST, 0, 0, 0)
    payload = max(0, size - (offset >> 4) * 4)
    after = sequence + payload + bool(flags & SYN) + bool(flags & FIN)
    return struct.pack("!HHIIBBHHH", target, source, 0, after & 0xFFFFFFFF, 5 << 4, RST | ACK, 0, 0, 0)


def _ipv4(source: bytes, target: bytes) -> bytes:
    header = struct.pack("!BBHHHBB", 0x45, 0, 40, 0, DONT_FRAGMENT, HOPS, TCP)
    return header + checksum(header + source + target) + source + target


def _ipv6(source: bytes, target: bytes) -> bytes:
    return struct.pack("!IHBB", 6 << 28, 20, TCP, HOPS) + source + target


def checksum(data: bytes) -> bytes:
    """Of the Internet (RFC 1071), over an even number of bytes."""
    total = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", total ^ 0xFFFF)
