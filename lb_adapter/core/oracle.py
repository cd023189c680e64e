"""The oracle of `parse.h` and `key.h`: from a frame to its session, in plain Python.

Written from the key table of docs/ARCHITECTURE.md and the RFCs named below, not from the C: where the two
differ, one of them is wrong. Pure and slow; `oracle_splice.py` goes on with the decisions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from catenary.session import Address, End, SessionKey

Affinity = Literal["session", "addresses", "client"]
Vlans = tuple[int, int]

ARP, ND, ADDRESSES, CLIENT, FRAGMENT_BIT = 256, 257, 258, 259, 0x8000
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION)
MAX_EXTENSIONS = 6
MAX_HEADERS = 240
"""Where the last header of an IPv6 packet may begin, in bytes (RFC 7112, section 5, allows such a bound)."""
TAGS = (0x8100, 0x88A8)
IPV4, IPV6, ARP_TYPE = 0x0800, 0x86DD, 0x0806
PROBE_TYPE, PROBE_NAME, PROBE_BYTES = 0x88B5, b"catenary", 54
SOLICITATION, ADVERTISEMENT = 135, 136
ICMP_ERRORS = (3, 4, 5, 11, 12)
UNSPECIFIED = IPv6Address(0)
WHOLE_HEADER = {TCP: 20, UDP: 8, SCTP: 12}
QUOTED_HEADER = 8
"""What an ICMP error is sure to quote of the upper layer (RFC 792)."""


class FrameClass(StrEnum):
    SESSION = "session"
    """It has a session key, from the session's own header."""
    ERROR = "error"
    """An ICMP error: the key is that of the packet quoted in it."""
    FRAGMENT = "fragment"
    """A later fragment: only its first one knows the session."""
    OTHER = "other"
    """No session: for the designated chain."""
    BAD = "bad"
    """To be dropped, for `reason`."""
    PROBE = "probe"
    """A master's raw probe of a chain, or the answer to it."""


@dataclass(frozen=True)
class FragmentKey:
    """What the fragments of one datagram share; directional, unlike a session's key."""

    source: Address
    target: Address
    identification: int
    protocol: int
    vlans: Vlans

    def pack(self) -> bytes:
        """The bytes of `struct session_key` that stand for it in C."""
        ends = End(self.source).pack()[:16] + End(self.target).pack()[:16]
        halves = (self.identification >> 16, self.identification & 0xFFFF)
        return ends + struct.pack("=8H", *halves, *self.vlans, self.protocol | FRAGMENT_BIT, 0, 0, 0)


@dataclass(frozen=True)
class Parsed:
    """A frame as the core sees it. `sender` and `receiver` are the session's ends as the frame goes."""

    kind: FrameClass
    vlans: Vlans = (0, 0)
    key: SessionKey | None = None
    fragment: FragmentKey | None = None
    tcp_flags: int = 0
    upper: int = 0
    """Bytes from the IP header to the upper layer's, of a session's own packet."""
    sender: End | None = None
    receiver: End | None = None
    reason: str = ""

    @property
    def is_neighbour(self) -> bool:
        """ARP or ND: several may ask and answer one question, which is no crossing."""
        return self.key is not None and self.key.kind in (ARP, ND)


class _Drop(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _NoSession(Exception):
    """For the designated chain."""


def parse(frame: bytes, beside: int | None = None) -> Parsed:
    """Class, keys and flags of an Ethernet frame. `beside`: the ID of a tag that lies beside it, if any."""
    vlans: Vlans = (0, 0)
    try:
        vlans, kind, rest = _tags(frame, beside)
        if kind == ARP_TYPE:
            return _arp(rest, vlans)
        if kind == PROBE_TYPE and beside is None and is_raw_probe(frame):
            return Parsed(FrameClass.PROBE)
        if kind not in (IPV4, IPV6):
            raise _NoSession
        return _ip(rest, kind == IPV6, vlans, group=bool(frame[0] & 1))
    except _Drop as drop:
        return Parsed(FrameClass.BAD, vlans, reason=drop.reason)
    except _NoSession:
        return Parsed(FrameClass.OTHER, vlans)


def is_raw_probe(frame: bytes) -> bool:
    """Is this untagged frame a load balancer's? Its EtherType is anybody's, so a name follows."""
    return len(frame) >= PROBE_BYTES and frame[12:22] == PROBE_TYPE.to_bytes(2, "big") + PROBE_NAME


def _need(data: bytes, size: int, reason: str = "drop_malformed") -> None:
    if len(data) < size:
        raise _Drop(reason)


def _number(data: bytes, at: int, size: int = 2) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _tags(frame: bytes, beside: int | None) -> tuple[Vlans, int, bytes]:
    """VLAN IDs of the user's tags, then the EtherType behind up to two of them, and what follows."""
    _need(frame, 14)
    tags = [] if beside is None else [beside]
    at = 12
    while _number(frame, at) in TAGS and len(tags) < 2:
        _need(frame, at + 6)
        tags.append(_number(frame, at + 2) & 0x0FFF)
        at += 4
    # ID 0 marks a tag that has only a priority (802.1Q): the frame is in no VLAN by it.
    ids = [vid for vid in tags if vid] + [0, 0]
    return (ids[0], ids[1]), _number(frame, at), frame[at + 2 :]


def _session(source: End, target: End, kind: int, vlans: Vlans, **fields: object) -> Parsed:
    parsed = Parsed(
        FrameClass.SESSION, vlans, SessionKey.of(source, target, kind, vlans), sender=source, receiver=target
    )
    return replace(parsed, **fields)  # type: ignore[arg-type]


def _arp(data: bytes, vlans: Vlans) -> Parsed:
    """RFC 826: request and reply have one key, (sender, target), for they swap the two."""
    _need(data, 8)
    if data[:6] != bytes([0, 1, 8, 0, 6, 4]):
        raise _NoSession
    _need(data, 28)
    return _session(End(IPv4Address(data[14:18])), End(IPv4Address(data[24:28])), ARP, vlans)


@dataclass(frozen=True)
class _Packet:
    """An IP packet down to its upper-layer header; `upper` has no padding in it."""

    v6: bool
    source: Address
    target: Address
    protocol: int
    headers: int
    """Bytes before `upper`."""
    upper: bytes
    after: bytes
    """`upper` with all that lies behind the packet in the frame."""
    fragment: FragmentKey | None


def _ip(data: bytes, v6: bool, vlans: Vlans, group: bool) -> Parsed:
    packet = (_ipv6 if v6 else _ipv4)(data, vlans, False)
    if isinstance(packet, Parsed):
        if group:
            raise _NoSession
        return packet
    short = "drop_fragment_short" if packet.fragment else "drop_malformed"
    if packet.protocol == (ICMPV6 if v6 else ICMP):
        kind = packet.upper[0] if packet.upper else 0
        if v6 and kind in (SOLICITATION, ADVERTISEMENT):
            _need(packet.upper, 24, short)
            return _neighbour(packet, vlans)
        _need(packet.upper, 8, short)
        if not group and (kind < 128 if v6 else kind in ICMP_ERRORS):
            return _error(packet.after[8:], v6, vlans)
    _need(packet.upper, WHOLE_HEADER.get(packet.protocol, 0), short)
    if group:  # multicast and broadcast have no other end; only neighbour discovery, above, has
        raise _NoSession
    flags = packet.upper[13] if packet.protocol == TCP else 0
    return _keyed(packet, vlans, tcp_flags=flags, upper=packet.headers, fragment=packet.fragment)


def _keyed(packet: _Packet, vlans: Vlans, **fields: object) -> Parsed:
    """The session of a packet of which the first 8 bytes of the upper layer are there."""
    source_port = target_port = 0
    if packet.protocol in WHOLE_HEADER:
        source_port, target_port = _number(packet.upper, 0), _number(packet.upper, 2)
    elif packet.protocol == (ICMPV6 if packet.v6 else ICMP):
        echo = packet.upper[0] in ((128, 129) if packet.v6 else (0, 8))
        source_port = target_port = _number(packet.upper, 4) if echo else 0
    return _session(
        End(packet.source, source_port), End(packet.target, target_port), packet.protocol, vlans, **fields
    )


def _error(quoted: bytes, v6: bool, vlans: Vlans) -> Parsed:
    """The session that an ICMP error is about. Its packet went the other way."""
    unknown = "drop_error_unknown"
    try:
        packet = (_ipv6 if v6 else _ipv4)(quoted, vlans, True)
        if isinstance(packet, Parsed):
            raise _Drop(unknown)
        certain = packet.protocol in WHOLE_HEADER or packet.protocol == (ICMPV6 if v6 else ICMP)
        _need(packet.upper, QUOTED_HEADER if certain else 0, unknown)
    except _Drop:
        raise _Drop(unknown) from None
    about = _keyed(packet, vlans)
    return replace(about, kind=FrameClass.ERROR, sender=about.receiver, receiver=about.sender)


def _later_fragment(key: FragmentKey, vlans: Vlans) -> Parsed:
    source, target = End(key.source), End(key.target)
    return Parsed(FrameClass.FRAGMENT, vlans, fragment=key, sender=source, receiver=target)


def _ipv4(data: bytes, vlans: Vlans, quoted: bool) -> _Packet | Parsed:
    """RFC 791. The length in a quoted header is not believed: hosts are known to change it."""
    _need(data, 20)
    header, total = (data[0] & 15) * 4, len(data) if quoted else _number(data, 2)
    if data[0] >> 4 != 4 or header < 20 or not header <= total <= len(data):
        raise _Drop("drop_malformed")
    source, target, protocol = IPv4Address(data[12:16]), IPv4Address(data[16:20]), data[9]
    more, offset = bool(data[6] & 0x20), _number(data, 6) & 0x1FFF
    fragment = None
    if more or offset:
        fragment = FragmentKey(source, target, _number(data, 4), protocol, vlans)
        if offset:
            return _later_fragment(fragment, vlans)
    return _Packet(False, source, target, protocol, header, data[header:total], data[header:], fragment)


def _ipv6(data: bytes, vlans: Vlans, quoted: bool) -> _Packet | Parsed:
    """RFC 8200, with at most MAX_EXTENSIONS headers before the upper layer's."""
    _need(data, 40)
    if data[0] >> 4 != 6:
        raise _Drop("drop_malformed")
    payload, protocol = _number(data, 4), data[6]
    jumbogram = payload == 0 and protocol == HOP_BY_HOP  # RFC 2675
    total = len(data) if quoted or jumbogram else 40 + payload
    if total > len(data):
        raise _Drop("drop_malformed")
    source, target = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    fragment, at, walked = None, 40, 0
    while protocol in EXTENSIONS:
        if walked == MAX_EXTENSIONS or at > MAX_HEADERS:
            raise _Drop("drop_header_chain")
        _need(data[:total], at + 8, "drop_fragment_short" if fragment else "drop_malformed")
        this, protocol = protocol, data[at]
        if this == FRAGMENT:
            offset, more = _number(data, at + 2) >> 3, data[at + 3] & 1
            if offset or more:  # else atomic (RFC 6946): a whole packet
                fragment = FragmentKey(source, target, _number(data, at + 4, 4), protocol, vlans)
            if offset and fragment:
                return _later_fragment(fragment, vlans)
            at += 8
        else:
            at += (data[at + 1] + 2) * 4 if this == AUTHENTICATION else (data[at + 1] + 1) * 8
        walked += 1
    if at > MAX_HEADERS:
        raise _Drop("drop_header_chain")
    _need(data[:total], at, "drop_fragment_short" if fragment else "drop_malformed")
    return _Packet(True, source, target, protocol, at, data[at:total], data[at:], fragment)


def _neighbour(packet: _Packet, vlans: Vlans) -> Parsed:
    """RFC 4861: keyed by who asks and who is asked for, in the question and in the answer."""
    asked = End(IPv6Address(packet.upper[8:24]))
    question = packet.upper[0] == SOLICITATION
    asker = packet.source if question else packet.target
    # Duplicate address detection asks for nobody; an unsolicited advertisement answers nobody.
    if asker == UNSPECIFIED if question else asker.is_multicast:
        raise _NoSession
    return _session(End(asker), asked, ND, vlans, fragment=packet.fragment)


def coarsen(parsed: Parsed, affinity: Affinity, forward: bool) -> Parsed:
    """The key as coarse as the segment asks. `forward`: the frame goes from client to server.

    Coarse keys have no TCP state, and all fragments have them; ARP and ND keep their own keys, for no
    other traffic shares theirs.
    """
    if affinity == "session" or parsed.sender is None or parsed.receiver is None:
        return parsed
    if parsed.key is not None and parsed.key.kind in (ARP, ND):
        return parsed
    sender, receiver = End(parsed.sender.address), End(parsed.receiver.address)
    if affinity == "addresses":
        key = SessionKey.of(sender, receiver, ADDRESSES, parsed.vlans)
    else:
        key = SessionKey(sender if forward else receiver, End(UNSPECIFIED), CLIENT, parsed.vlans)
    kind = FrameClass.SESSION if parsed.kind is FrameClass.FRAGMENT else parsed.kind
    return replace(parsed, kind=kind, key=key, fragment=None, tcp_flags=0)


def lanes(key: SessionKey, size: int) -> tuple[int, int]:
    """The two entries of the Maglev table that p2c chooses from; the first is the plain hash's."""
    first = key.hash64()
    return (first >> 32) * size >> 32, (_mixed(first) >> 32) * size >> 32


def outer_lane(key: SessionKey, size: int) -> int:
    """The entry of the outer side's table."""
    return (_mixed(key.hash64()) & 0xFFFFFFFF) * size >> 32


def _mixed(value: int) -> int:
    value = value * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return value ^ value >> 29
