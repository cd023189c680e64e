"""The oracle of `probe.h`: what a probe of a chain is by IP, and its answer, in plain Python."""

from __future__ import annotations

import struct

from lb_adapter.core.oracle import ICMP, IPV4, PROBE_BYTES, TCP, UDP, FrameClass, Parsed
from lb_adapter.core.oracle_pin import ACK, RST
from lb_adapter.core.oracle_reset import checksum
from lb_adapter.core.setup import Ends

_PROTOCOL, _ADDRESSES, _UPPER = 23, slice(26, 34), 34


def is_probe(parsed: Parsed, size: int, ends: Ends | None) -> bool:
    """Is it a probe, or the answer to one? `size`: bytes of the frame; `ends`: the addresses of probes."""
    if parsed.kind is FrameClass.PROBE:
        return True
    key = parsed.key
    if ends is None or key is None or parsed.kind is not FrameClass.SESSION or parsed.fragment is not None:
        return False
    whole = size >= PROBE_BYTES and parsed.upper == 20 and parsed.vlans == (0, 0)
    return whole and key.kind in (ICMP, TCP, UDP) and {key.low.address, key.high.address} == set(ends)


def answer(frame: bytes) -> bytes:
    """The answer to a probe."""
    frame = frame[6:12] + frame[:6] + frame[12:]
    if int.from_bytes(frame[12:14], "big") != IPV4:
        return frame
    addresses = frame[_ADDRESSES]
    frame = frame[:26] + addresses[4:] + addresses[:4] + frame[34:]
    head, upper = frame[:_UPPER], frame[_UPPER:]
    if frame[_PROTOCOL] == UDP:
        return head + upper[2:4] + upper[:2] + upper[4:]
    if frame[_PROTOCOL] == ICMP:
        return head + _mended(upper, b"\x00" + upper[1:], 2)
    after = (int.from_bytes(upper[4:8], "big") + 1) & 0xFFFFFFFF
    turned = upper[2:4] + upper[:2] + struct.pack("!IIBB", 0, after, upper[12], RST | ACK) + upper[14:]
    return head + _mended(upper, turned, 16)


def _mended(before: bytes, after: bytes, at: int) -> bytes:
    """`after` with its checksum at offset `at` made to agree as well as that of `before` did (RFC 1624).

    Both are 20 bytes or more, and beyond these they are the same.
    """
    gone = bytes(0xFF ^ byte for byte in before[:at] + before[at + 2 : 20])
    sums = bytes(0xFF ^ byte for byte in before[at : at + 2]) + gone + after[:at] + after[at + 2 : 20]
    return after[:at] + checksum(sums) + after[at + 2 :]
