"""The frames of probes (core/probe.h): a pure function from a number to bytes."""

from __future__ import annotations

import struct

from catenary.health import HealthCheck
from catenary.tags import TagPair
from lb_adapter.core.oracle import ICMP, IPV4, PROBE_BYTES, PROBE_NAME, PROBE_TYPE, TAGS, TCP, UDP
from lb_adapter.core.oracle_pin import SYN
from lb_adapter.core.oracle_reset import checksum

CLIENT_MAC, SERVER_MAC = bytes.fromhex("026361740001"), bytes.fromhex("026361740002")
"""Locally administered: bridges in a chain learn where each side is."""
NUMBERS = 1 << 16
_NUMBER_AT, _HEADERS = 42, 34
_ECHO, _HOPS, _DONT_FRAGMENT, _WINDOW = 8, 64, 0x4000, 1024
_SOURCE_PORT = 61_000
_PROTOCOLS = {"icmp": ICMP, "udp": UDP, "tcp": TCP}


def frame(check: HealthCheck, tags: TagPair, number: int) -> bytes:
    """The probe with this number, of 16 bits, as a master sends it into a chain."""
    tag = TAGS[0].to_bytes(2, "big") + tags.forward.to_bytes(2, "big")
    link = SERVER_MAC + CLIENT_MAC + tag
    if check.ends is None:
        body = PROBE_NAME.ljust(_NUMBER_AT - 14, b"\0") + struct.pack("!H", number)
        return link + PROBE_TYPE.to_bytes(2, "big") + body.ljust(PROBE_BYTES - 14, b"\0")
    protocol = _PROTOCOLS[check.kind]
    client, server = (end.packed for end in check.ends)
    upper = _upper(check, number)
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(upper), number, _DONT_FRAGMENT, _HOPS, protocol)
    ip = head + checksum(head + client + server) + client + server
    at = {ICMP: 2, UDP: 6, TCP: 16}[protocol]
    pseudo = b"" if protocol == ICMP else client + server + struct.pack("!HH", protocol, len(upper))
    upper = upper[:at] + checksum(pseudo + upper) + upper[at + 2 :]
    return link + IPV4.to_bytes(2, "big") + ip + upper


def _upper(check: HealthCheck, number: int) -> bytes:
    """Its upper-layer header and payload, 20 bytes, without a checksum."""
    payload = struct.pack("!H", number).ljust(12, b"\0")
    match check.kind:
        case "icmp":
            return struct.pack("!BBHHH", _ECHO, 0, 0, _SOURCE_PORT, number) + payload
        case "udp":
            return struct.pack("!HHHH", _SOURCE_PORT, check.port, 20, 0) + payload
    # Each from a port of its own, or a late segment of the last would be part of this one's connection.
    port = 1024 + number % (NUMBERS - 1024)
    return struct.pack("!HHIIBBHHH", port, check.port, number << 16, 0, 5 << 4, SYN, _WINDOW, 0, 0)
