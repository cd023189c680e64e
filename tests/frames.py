"""Hypothesis strategies for frames: scapy builds the headers, then bytes are changed, cut and added.

Addresses, ports and identifications come from small sets, so that frames of one sequence meet in sessions.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
GROUPS = ("01:00:5e:00:00:fb", "33:33:ff:00:00:02", "ff:ff:ff:ff:ff:ff")
HOSTS = (("10.0.0.1", "fd00::1"), ("10.0.0.200", "fd00::c8"), ("192.0.2.7", "::ffff:10.0.0.1"))
PORTS = (80, 1000, 0x0100)
VLANS = (0, 5, 100, 3001)
FLAGS = ("S", "SA", "A", "PA", "FA", "R", "RA", "F", "")


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """One frame, well-formed more often than not."""
    v6, source, target = draw(st.booleans()), draw(st.integers(0, 2)), draw(st.integers(0, 2))
    kind = draw(st.integers(0, 23))
    if kind < 2:
        body = _neighbour(v6, source, target, draw(st.integers(0, 7)))
    elif kind < 6:
        body = _error(draw, v6, source, target)
    elif kind == 23:
        return _damaged(draw, _PROBE)
    else:
        body = _packet(draw, v6, source, target)
    tags = draw(st.lists(st.sampled_from(VLANS), max_size=3)) if _rarely(draw) else []
    group = draw(st.integers(0, 9)) == 0
    return _damaged(draw, _ethernet(tuple(tags), group, v6, kind < 2 and not v6) + body)


_PROBE = bytes(Ether(src=MACS[0], dst=MACS[1], type=0x88B5) / Raw(b"catenary" + bytes(range(32))))


@cache
def _ethernet(tags: tuple[int, ...], group: bool, v6: bool, arp: bool) -> bytes:
    kind = 0x0806 if arp else 0x86DD if v6 else 0x0800
    header = Ether(src=MACS[0], dst=GROUPS[len(tags) % 3] if group else MACS[1])
    for number, vid in enumerate(tags):
        header /= Dot1AD(vlan=vid) if number == 0 and vid == 100 else Dot1Q(vlan=vid, prio=number)
    header.lastlayer().type = kind
    return bytes(header)


def _packet(draw: st.DrawFn, v6: bool, source: int, target: int) -> bytes:
    kind = draw(st.sampled_from(("tcp", "tcp", "tcp", "udp", "sctp", "echo", "gre", "other", "raw")))
    protocol, upper = _upper(kind, v6, draw(st.integers(0, 8)), draw(st.sampled_from(FLAGS)))
    if kind == "raw":
        upper = draw(st.binary(max_size=24))
    if not v6:
        fragment = (
            draw(st.sampled_from(((1, 0), (1, 9), (0, 9), (2, 0), (0, 1)))) if _rarely(draw) else (0, 0)
        )
        options = draw(st.sampled_from((4, 40))) if _rarely(draw) else 0
        number = draw(st.integers(1, 2))
        return _ipv4(source, target, protocol, number, fragment, options, len(upper)) + upper
    chain: list[int] = []
    if _rarely(draw):
        size = draw(st.sampled_from((1, 1, 2, 6, 7)))
        chain = draw(st.lists(st.integers(0, len(_EXTENSIONS) - 1), min_size=size, max_size=size))
    return _ipv6(source, target, protocol, tuple(chain), len(upper)) + upper


def _rarely(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 3)) == 0


@cache
def _ipv4(
    source: int, target: int, protocol: int, number: int, fragment: tuple[int, int], options: int, size: int
) -> bytes:
    ip = IP(src=HOSTS[source][0], dst=HOSTS[target][0], proto=protocol, id=number, chksum=0)
    ip.options = [IPOption_NOP()] * options
    ip.flags, ip.frag = fragment
    return bytes(ip / Raw(bytes(size)))[: 20 + options]


@cache
def _ipv6(source: int, target: int, protocol: int, chain: tuple[int, ...], size: int) -> bytes:
    ip = IPv6(src=HOSTS[source][1], dst=HOSTS[target][1])
    for number in chain:
        ip /= _EXTENSIONS[number].copy()
    ip.lastlayer().nh = protocol
    whole = bytes(ip / Raw(bytes(size)))
    return whole[: len(whole) - size]


_EXTENSIONS = (
    IPv6ExtHdrHopByHop(),
    IPv6ExtHdrDestOpt(),
    IPv6ExtHdrRouting(),
    IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(180))]),
    IPv6ExtHdrFragment(id=1, m=1),
    IPv6ExtHdrFragment(id=1, offset=9),
    IPv6ExtHdrFragment(id=2),
    AH(payloadlen=4, icv=bytes(12)),
)


@cache
def _upper(kind: str, v6: bool, choice: int, flags: str) -> tuple[int, bytes]:
    """Protocol number and bytes of an upper layer."""
    ports = {"sport": PORTS[choice // 3], "dport": PORTS[choice % 3], "chksum": 0}
    number = choice % 2 + 1
    if kind == "raw":
        return (6, 17, 1, 58, 132, 255, 4, 50, 59)[choice], b""
    if kind == "echo":
        echo = ICMPv6EchoRequest(id=number, cksum=0) if v6 else ICMP(id=number, chksum=0)
        return (58 if v6 else 1), bytes(echo)
    if kind == "other":
        return (58, bytes(ICMPv6MLReport2(cksum=0))) if v6 else (1, bytes(ICMP(type=10, chksum=0)))
    if kind == "gre":
        return 47, bytes(GRE() / b"inside")
    if kind == "sctp":
        return 132, bytes(SCTP(**ports))
    if kind == "udp":
        return 17, bytes(UDP(**ports, len=12) / b"data")
    return 6, bytes(TCP(**ports, flags=flags))


@cache
def _neighbour(v6: bool, source: int, target: int, choice: int) -> bytes:
    first, second, third = choice & 1, choice & 2, choice & 4
    if not v6:
        ends = {"hwsrc": MACS[0], "hwdst": MACS[1], "psrc": HOSTS[source][0], "pdst": HOSTS[target][0]}
        return bytes(ARP(op=1 + first, **ends))
    ip = IPv6(src=HOSTS[source][1] if second else "::", dst="ff02::1:ff00:2" if third else HOSTS[target][1])
    about = HOSTS[target if first else source][1]
    return bytes(ip / (ICMPv6ND_NS(tgt=about, cksum=0) if first else ICMPv6ND_NA(tgt=about, cksum=0)))


def _error(draw: st.DrawFn, v6: bool, source: int, target: int) -> bytes:
    quoted = _packet(draw, v6, target, source)
    quoted = quoted[: draw(st.sampled_from((28, 48, 200, 2000)))]
    kind = draw(st.sampled_from((1, 2, 3, 4, 100, 128) if v6 else (3, 4, 5, 11, 12, 9)))
    size = 8 + len(quoted)
    header = _ipv6(source, target, 58, (), size) if v6 else _ipv4(source, target, 1, 1, (0, 0), 0, size)
    return header + _error_header(v6, kind) + quoted


@cache
def _error_header(v6: bool, kind: int) -> bytes:
    return bytes(ICMPv6DestUnreach(type=kind, cksum=0) if v6 else ICMP(type=kind, chksum=0))[:8]


def _damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    damage = draw(st.integers(0, 7))
    if damage == 0:
        return raw[: draw(st.integers(0, len(raw)))]
    if damage == 1:
        return raw + draw(st.binary(max_size=30))
    if damage == 2:
        changed = bytearray(raw)
        for _ in range(draw(st.integers(1, 3))):
            changed[draw(st.integers(12, len(raw) - 1))] = draw(st.integers(0, 255))
        return bytes(changed)
    return raw
