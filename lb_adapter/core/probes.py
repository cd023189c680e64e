"""Frames of the self-test: what a program is shown before it may carry packets (`lb_adapter/selftest.py`).

Pure values, made without a library that users lack. Checksums are 0: no load balancer looks at them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network

from catenary.chain import PairState
from catenary.classifier import Rule
from catenary.session import Timeouts
from catenary.tags import TagPair
from lb_adapter.core.oracle import (
    ARP_TYPE,
    AUTHENTICATION,
    DESTINATION,
    FRAGMENT,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    PROBE_NAME,
    PROBE_TYPE,
    SCTP,
    TCP,
    UDP,
)
from lb_adapter.core.oracle_pin import ACK, FIN, RST, SYN
from lb_adapter.dataplane.base import TakeOver

ASK = 4094
PAIRS = (TagPair(3001, 3002), TagPair(3003, 3004), TagPair(3005, 3006), TagPair(3007, 3008))
STATES = (PairState.ACTIVE, PairState.ACTIVE, PairState.COOLING, PairState.CLOSED)
PASSING = (PairState.ACTIVE, PairState.ACTIVE, PairState.COOLING, PairState.ACTIVE)
"""With a classifier, the last pair is the bypass."""
RULES = (
    Rule(0, ip_network("192.0.2.0/24"), ip_network("198.51.100.0/25"), TCP, (80, 80)),
    Rule(1, server=ip_network("2001:db8::2/128"), protocol=TCP),
    Rule(2, protocol=SCTP, ports=(1, 80)),
    Rule(3, protocol=UDP, vlan=200),
    Rule(4, client=ip_network("::/0"), protocol=UDP),
    Rule(5, ip_network("192.0.2.1/32"), ip_network("192.0.2.1/32")),
    Rule(6, protocol=ICMPV6),
)
TIMEOUTS = Timeouts(tcp_closing=600, lease=600, transit=60)
"""So long that the time which the test takes plays no part; what is older is made so by `Probe.age`."""
LAPSED, GONE = 700, 9000
"""Ages in s at which no lease holds, and no pin of any state."""
_MACS = bytes.fromhex("020000000002020000000001")
_GROUP = bytes.fromhex("333300000001020000000001")
_PORT, _GRE = 1000, 47


PROBED = (IPv4Address("192.0.2.8"), IPv4Address("192.0.2.9"))
"""Addresses of probes of chains."""


@dataclass(frozen=True)
class Probe:
    """A frame into the outer port, or into the inner one, tagged with `vid`, or there without a tag of ours.

    Before that the pin of its session is made `age` seconds older; `overflow` puts the splice into overflow.
    `take_over` is of a master that lost its table. `reset` makes the pin a tombstone, `foreign` the
    other load balancer's.
    """

    name: str
    frame: bytes
    vid: int | None = None
    inner: bool = False
    age: int = 0
    overflow: bool = False
    take_over: TakeOver = TakeOver.NONE
    reset: bool = False
    foreign: bool = False


def _ethernet(kind: int, body: bytes, *tags: tuple[int, int], macs: bytes = _MACS) -> bytes:
    return macs + b"".join(struct.pack("!HH", *tag) for tag in tags) + struct.pack("!H", kind) + body


def _v4(protocol: int, upper: bytes, *, back: bool = False, fragment: int = 0, more: int = 0) -> bytes:
    """`more` bytes are promised that do not come. `fragment`: flags and offset."""
    ends = [ip_address("192.0.2.1").packed, ip_address("198.51.100.2").packed]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(upper) + more, 7, fragment, 64, protocol, 0)
    return head + b"".join(reversed(ends) if back else ends) + upper


def _v6(protocol: int, upper: bytes, *, back: bool = False) -> bytes:
    ends = [ip_address("2001:db8::1").packed, ip_address("2001:db8::2").packed]
    head = struct.pack("!IHBB", 6 << 28, len(upper), protocol, 64)
    return head + b"".join(reversed(ends) if back else ends) + upper


def _ports(port: int, back: bool) -> bytes:
    return struct.pack("!HH", *((80, port) if back else (port, 80)))


def _tcp(flags: int, port: int, back: bool = False) -> bytes:
    return _ports(port, back) + struct.pack("!IIBBHHH", 1, 1, 0x50, flags, 8192, 0, 0) + b"data"


def _udp(port: int, back: bool = False) -> bytes:
    return _ports(port, back) + struct.pack("!HH", 12, 0) + b"data"


def tcp4(
    flags: int, port: int = _PORT, *, back: bool = False, tags: tuple[tuple[int, int], ...] = ()
) -> bytes:
    return _ethernet(IPV4, _v4(TCP, _tcp(flags, port, back), back=back), *tags)


def tcp6(flags: int, *, back: bool = False) -> bytes:
    return _ethernet(IPV6, _v6(TCP, _tcp(flags, _PORT, back), back=back))


def udp4(
    port: int = _PORT, *, back: bool = False, fragment: int = 0, tags: tuple[tuple[int, int], ...] = ()
) -> bytes:
    return _ethernet(IPV4, _v4(UDP, _udp(port, back), back=back, fragment=fragment), *tags)


def _from_80(flags: int) -> bytes:
    """From a client's port 80: it is the servers' side's that a classifier asks for."""
    return _ethernet(IPV4, _v4(TCP, struct.pack("!HH", 80, _PORT) + _tcp(flags, _PORT)[4:]))


def _rest4(back: bool = False, offset: int = 2) -> bytes:
    """A later fragment of the datagram that `udp4(fragment=0x2000)` begins."""
    return _ethernet(IPV4, _v4(UDP, bytes(16), back=back, fragment=offset))


def _fragment6(offset: int, back: bool = False, *, number: int = 7, more: bool = True) -> bytes:
    body = bytes(16) if offset else _udp(_PORT, back)
    header = struct.pack("!BBHI", UDP, 0, offset << 3 | more, number)
    return _ethernet(IPV6, _v6(FRAGMENT, header + body, back=back))


def _to_itself(back: bool = False) -> bytes:
    """Both ends have one address: only the ports tell them apart."""
    packet = bytearray(_v4(TCP, _tcp(ACK, _PORT, back)))
    packet[16:20] = packet[12:16]
    return _ethernet(IPV4, bytes(packet))


def _echo4(back: bool = False) -> bytes:
    return _ethernet(IPV4, _v4(ICMP, struct.pack("!BBHHH", 0 if back else 8, 0, 0, 5, 1), back=back))


def _echo6(back: bool = False) -> bytes:
    return _ethernet(IPV6, _v6(ICMPV6, struct.pack("!BBHHH", 129 if back else 128, 0, 0, 5, 1), back=back))


def _error4(port: int = _PORT, back: bool = False) -> bytes:
    """Port unreachable, about a UDP packet that went the other way."""
    quoted = _v4(UDP, _udp(port, not back), back=not back)
    return _ethernet(IPV4, _v4(ICMP, bytes([3, 3, 0, 0, 0, 0, 0, 0]) + quoted, back=back))


def _error6(back: bool = False) -> bytes:
    """Too big, about a TCP packet that went the other way."""
    quoted = _v6(TCP, _tcp(ACK, _PORT, not back), back=not back)
    return _ethernet(IPV6, _v6(ICMPV6, bytes([2, 0, 0, 0, 0, 0, 5, 0]) + quoted, back=back))


def _arp(back: bool = False) -> bytes:
    ends = [bytes(6) + ip_address(text).packed for text in ("192.0.2.1", "198.51.100.2")]
    body = b"".join(reversed(ends) if back else ends)
    return _ethernet(ARP_TYPE, struct.pack("!HHBBH", 1, 0x800, 6, 4, 1 + back) + body)


def _solicitation() -> bytes:
    body = struct.pack("!BBHI", 135, 0, 0, 0) + ip_address("2001:db8::2").packed
    return _ethernet(IPV6, _v6(ICMPV6, body), macs=_GROUP)


USER = ((0x88A8, 0xA064), (0x8100, 0x00C8))
"""Two tags of the user: IDs 100, with a priority, and 200."""
_AH = struct.pack("!BBHIIQI", UDP, 4, 0, 1, 1, 0, 0)
_HEADERS = b"".join(struct.pack("!BB6s", DESTINATION, 0, bytes(6)) for _ in range(7)) + bytes(8)


def _chain_probes(chain: int, elsewhere: int) -> tuple[Probe, ...]:
    """Probes of health checks, out of a chain by its tag and where none belongs."""
    made = {"a raw probe": _ethernet(PROBE_TYPE, PROBE_NAME + bytes(32))}
    for name, protocol, upper in (
        ("a TCP probe", TCP, _ports(_PORT, False) + struct.pack("!IIBBHHH", 7, 0, 0x50, SYN, 8192, 9, 0)),
        ("a UDP probe", UDP, _ports(_PORT, False) + bytes(16)),
        ("an ICMP probe", ICMP, struct.pack("!BBHHH", 8, 0, 0, 5, 1) + bytes(12)),
    ):
        packet = _v4(protocol, upper)
        ends = b"".join(end.packed for end in PROBED)
        made[name] = _ethernet(IPV4, packet[:12] + ends + packet[20:])
    return (
        *(Probe(f"{name} out of chain 1", frame, chain) for name, frame in made.items()),
        *(Probe(f"{name} from outside", frame) for name, frame in made.items()),
        *(Probe(f"{name} on the bypass path", frame, elsewhere) for name, frame in made.items()),
    )


BOTH = (
    Probe("multicast", _ethernet(IPV4, _v4(UDP, _udp(9)), macs=_GROUP)),
    Probe("a frame that is not IP", _ethernet(0x88CC, bytes(46))),
    Probe("IPv4 shorter than it says", _ethernet(IPV4, _v4(UDP, _udp(9), more=9))),
    Probe("half a TCP header and padding", _ethernet(IPV4, _v4(TCP, _tcp(ACK, _PORT)[:12]) + bytes(14))),
    Probe("IPv4 with half a TCP header", _ethernet(IPV4, _v4(TCP, _tcp(ACK, _PORT)[:12]))),
    Probe(
        "a first fragment with half a header", _ethernet(IPV4, _v4(TCP, _tcp(SYN, 9)[:16], fragment=0x2000))
    ),
    Probe("IPv6 with seven extension headers", _ethernet(IPV6, _v6(DESTINATION, _HEADERS))),
    Probe("a loop: one of our tags at the outer port", tcp4(SYN, tags=((0x8100, 3001),))),
    Probe("no tag at the inner port", tcp4(SYN), inner=True),
    Probe("an unknown tag at the inner port", tcp4(SYN), 77),
    Probe("a malformed frame out of a chain", _ethernet(IPV4, _v4(UDP, _udp(9), more=9)), 3002),
)

MASTER = (
    *BOTH,
    *_chain_probes(3002, 3001),
    Probe("TCP SYN of a client", tcp4(SYN)),
    Probe("TCP SYN-ACK of the server, out of chain 1", tcp4(SYN | ACK, back=True), 3002),
    Probe("TCP SYN-ACK of the server, out of chain 2", tcp4(SYN | ACK, back=True), 3004),
    Probe("TCP data of the client", tcp4(ACK)),
    Probe("an ask about a known TCP session", tcp4(ACK, back=True), ASK),
    Probe("an ask with a FIN", tcp4(FIN | ACK, back=True), ASK),
    Probe("a hint that speaks against the pin", tcp4(ACK, back=True), 3005),
    Probe("TCP FIN of the client", tcp4(FIN | ACK)),
    Probe("TCP FIN of the server, out of chain 1", tcp4(FIN | ACK, back=True), 3002),
    Probe("TCP SYN on a session that has just closed", tcp4(SYN)),
    Probe("TCP RST of the client", tcp4(RST)),
    Probe("TCP data after its pin has expired", tcp4(ACK), age=GONE),
    Probe("TCP learned from a cooling chain", tcp4(ACK, 2000, back=True), 3006),
    Probe("TCP data on what was learned", tcp4(ACK, 2000)),
    Probe("TCP RST of the server", tcp4(RST, 2000, back=True), 3006),
    Probe("TCP SYN on a closed session of a cooling chain", tcp4(SYN, 2000), age=300),
    Probe("TCP out of a closed chain", tcp4(ACK, 3000, back=True), 3008),
    Probe("TCP RST of an unknown session", tcp4(RST, 5000)),
    Probe("TCP data right after a RST", tcp4(ACK, 5000)),
    Probe("TCP RST of another session", tcp4(RST, 6000)),
    Probe("TCP data just before a closing pin expires", tcp4(ACK, 6000), age=1410),
    Probe("TCP between ports of one address", _to_itself()),
    Probe("TCP between ports of one address, back", _to_itself(back=True), 3002),
    Probe("TCP SYN of a server that asks", tcp4(SYN, 4000, back=True), ASK),
    Probe("UDP of a client", udp4()),
    Probe("UDP after its pin has expired", udp4(), age=GONE),
    Probe("UDP just before its pin expires", udp4(), age=810),
    Probe("ICMP error about a session that rests", _error4(), age=500),
    Probe("UDP that the ICMP error did not refresh", udp4(), age=400),
    Probe("UDP hint of a cooling chain", udp4(2000, back=True), 3005),
    Probe("UDP hint of a closed chain", udp4(3000, back=True), 3007),
    Probe("ICMP error about a known session", _error4()),
    Probe("ICMP error about an unknown session", _error4(9)),
    Probe("ICMP error of the server, out of chain 2", _error4(back=True), 3004),
    Probe("a first fragment", udp4(fragment=0x2000)),
    Probe("a later fragment", _rest4()),
    Probe("a later fragment at byte 8", _rest4(offset=1)),
    Probe("a later fragment without its first one", _rest4(back=True), ASK),
    Probe("ICMP echo request", _echo4()),
    Probe("ICMP echo reply out of chain 1", _echo4(back=True), 3002),
    Probe("TCP SYN over IPv6", tcp6(SYN)),
    Probe("TCP over IPv6 out of chain 2", tcp6(SYN | ACK, back=True), 3004),
    Probe("ICMPv6 error about a known session", _error6()),
    Probe("an IPv6 first fragment", _fragment6(0)),
    Probe("an IPv6 later fragment", _fragment6(2)),
    Probe("an IPv6 fragment that is all", _fragment6(0, number=8, more=False)),
    Probe("a later fragment of what was all", _fragment6(2, number=8)),
    Probe("IPv6 with an authentication header", _ethernet(IPV6, _v6(AUTHENTICATION, _AH + _udp(7000)))),
    Probe("ICMPv6 echo request", _echo6()),
    Probe("ARP request", _arp()),
    Probe("ARP reply out of chain 1", _arp(back=True), 3002),
    Probe("IPv6 neighbour solicitation", _solicitation()),
    Probe("GRE", _ethernet(IPV4, _v4(_GRE, bytes(8)))),
    Probe("SCTP", _ethernet(IPV4, _v4(SCTP, _ports(_PORT, False) + bytes(12)))),
    Probe("TCP SYN with tags of the user", tcp4(SYN, tags=USER)),
    Probe("TCP out of chain 1 with tags of the user", tcp4(ACK, back=True, tags=USER), 3002),
    *(Probe(f"TCP SYN {number} in overflow", tcp4(SYN, 8000 + number), overflow=True) for number in range(8)),
    Probe("UDP hint in overflow", udp4(8000, back=True), 3003, overflow=True),
    Probe("TCP data of a client in a take-over", tcp4(ACK, 9000), take_over=TakeOver.HOLD),
    Probe("an ask in a take-over", tcp4(ACK, 9000, back=True), ASK, take_over=TakeOver.HOLD),
    Probe("TCP out of chain 2 in a take-over", tcp4(ACK, 9001, back=True), 3004, take_over=TakeOver.HOLD),
    Probe("TCP SYN after a take-over", tcp4(SYN, 9002), take_over=TakeOver.WATCH),
    Probe("TCP data of an orphan", tcp4(ACK, 9000), take_over=TakeOver.WATCH),
    Probe("TCP SYN of a session that will be reset", tcp4(SYN, 9100)),
    Probe("TCP data on a tombstone", tcp4(ACK, 9100), reset=True),
    Probe("TCP data with tags of the user on a tombstone", tcp4(ACK, tags=USER), reset=True),
    Probe("TCP FIN without an ACK on a tombstone", tcp4(FIN, 9100)),
    Probe("TCP RST on a tombstone", tcp4(RST, 9100)),
    Probe("ICMP error about what was reset", _error4(9100)),
    Probe("TCP of the server on a tombstone, out of chain 1", tcp4(ACK, 9100, back=True), 3002),
    Probe("an ask on a tombstone", tcp4(ACK, 9100, back=True), ASK),
    Probe("a hint on a tombstone", tcp4(ACK, 9100, back=True), 3003),
    Probe("TCP SYN on a tombstone", tcp4(SYN, 9100)),
    *(
        probe
        for chain, port in ((1, 9110), (2, 9120))
        for probe in (
            Probe(
                f"TCP that will be reset, out of chain {chain}", tcp4(ACK, port, back=True), 3000 + 2 * chain
            ),
            Probe(f"TCP SYN on a fresh tombstone of chain {chain}", tcp4(SYN, port), reset=True),
            Probe(f"TCP SYN on an old tombstone of chain {chain}", tcp4(SYN, port), reset=True, age=5),
        )
    ),
    Probe("TCP data over IPv6 on a tombstone", tcp6(ACK), reset=True),
    Probe("TCP SYN of a session of both", tcp4(SYN, 9200)),
    Probe("an ask about what the peer has", tcp4(ACK, 9200, back=True), ASK, foreign=True),
    Probe("TCP data of what the peer had", tcp4(ACK, 9200)),
    Probe("TCP of what the peer had, out of chain 1", tcp4(ACK, 9200, back=True), 3002, foreign=True),
    Probe("an ask about what nobody knows", tcp4(SYN | ACK, 9201, back=True), ASK),
    Probe("TCP SYN from port 80 of a client", _from_80(SYN)),
    Probe("UDP with tags of the user", udp4(9300, tags=USER)),
    Probe("UDP with a tag of the user", udp4(9300, tags=USER[:1])),
    Probe("TCP SYN of what passes by, in overflow", _from_80(ACK), age=GONE, overflow=True),
)

SLAVE = (
    *BOTH,
    *_chain_probes(3001, 3002),
    Probe("TCP SYN of a client, out of chain 1", tcp4(SYN), 3001),
    Probe("TCP SYN-ACK of the server", tcp4(SYN | ACK, back=True)),
    Probe("TCP data of the client, out of chain 2", tcp4(ACK), 3003),
    Probe("TCP data of the server", tcp4(ACK, back=True)),
    Probe("an answer while the lease is valid", tcp4(ACK, back=True), 3002),
    Probe("TCP data of the server after its lease", tcp4(ACK, back=True), age=LAPSED),
    Probe("an answer after the lease", tcp4(ACK, back=True), 3002),
    Probe("TCP FIN of the client, out of chain 1", tcp4(FIN | ACK), 3001),
    Probe("TCP SYN of the server on a closing session", tcp4(SYN, back=True)),
    Probe("TCP data of the server long after", tcp4(ACK, back=True), age=GONE),
    Probe("TCP out of a cooling chain", tcp4(ACK, 2000), 3005),
    Probe("TCP of the server after the lease, cooling chain", tcp4(ACK, 2000, back=True), age=LAPSED),
    Probe("TCP out of a closed chain", tcp4(ACK, 3000), 3007),
    Probe("TCP of the server after the lease, closed chain", tcp4(ACK, 3000, back=True), age=LAPSED),
    Probe("UDP of a server that nobody knows", udp4(back=True)),
    Probe("UDP answer of chain 2", udp4(back=True), 3004),
    Probe("UDP of the server on its lease", udp4(back=True)),
    Probe("ICMP error about a leased session", _error4(back=True)),
    Probe("ICMP error about an unknown session", _error4(9, back=True)),
    Probe("a first fragment", udp4(back=True, fragment=0x2000)),
    Probe("a later fragment", _rest4(back=True)),
    Probe("a later fragment out of chain 1", _rest4(), 3001),
    Probe("an answered fragment", _rest4(back=True), 3004),
    Probe("ICMP echo request out of chain 2", _echo4(), 3003),
    Probe("ICMP echo reply", _echo4(back=True)),
    Probe("TCP over IPv6 out of chain 2", tcp6(SYN), 3003),
    Probe("TCP SYN-ACK over IPv6", tcp6(SYN | ACK, back=True)),
    Probe("ICMPv6 error about a leased session", _error6(back=True)),
    Probe("an IPv6 first fragment that asks", _fragment6(0, back=True)),
    Probe("an IPv6 first fragment answered", _fragment6(0, back=True), 3002),
    Probe("an IPv6 later fragment", _fragment6(2, back=True)),
    Probe("ICMPv6 echo request out of chain 1", _echo6(), 3001),
    Probe("ARP request out of chain 1", _arp(), 3001),
    Probe("ARP reply", _arp(back=True)),
    Probe("GRE out of chain 2", _ethernet(IPV4, _v4(_GRE, bytes(8))), 3003),
    Probe("an ask that came back", tcp4(ACK, back=True), ASK),
    Probe("TCP with tags of the user", tcp4(ACK, back=True, tags=USER)),
    Probe("TCP out of chain 1 with tags of the user", tcp4(ACK, tags=USER), 3001),
    Probe("TCP of a session that will be reset, out of chain 1", tcp4(ACK, 9100), 3001),
    Probe("TCP data of the server on a tombstone", tcp4(ACK, 9100, back=True), reset=True),
    Probe("TCP RST of the server on a tombstone", tcp4(RST, 9100, back=True)),
    Probe("TCP on a tombstone, out of chain 1", tcp4(ACK, 9100), 3001),
    Probe("TCP data of the server after that", tcp4(ACK, 9100, back=True)),
    Probe("TCP SYN of the server on a tombstone", tcp4(SYN, 9100, back=True)),
    Probe("TCP SYN on a tombstone, out of chain 2", tcp4(SYN, 9100), 3003),
)
