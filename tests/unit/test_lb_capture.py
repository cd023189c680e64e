"""Which frames a capture takes: the kernel's filter, interpreted here, and what its reader says of them."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from catenary.pcap import HEADER, record, whole_records
from catenary.session import SessionKey
from lb_adapter import socket_filter
from lb_adapter.capture import Frames
from lb_adapter.socket_filter import addresses_of, program

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
SIX = "fd00::1", "fd00::2"
KEY = SessionKey.parse(f"udp {A}:1000 {B}:80")
SENT, RECEIVED = 2, 3


def takes(rows: bytes, packet: Packet, vid: int, *, sent: bool, within: bool = False) -> bool:
    """What the kernel does: the tag lies beside the frame, or within it."""
    frame, at, value = bytes(packet), 0, 0
    if within:
        frame = frame[:12] + struct.pack("!HH", 0x8100, vid | 0x6000) + frame[12:]
    beside = {
        socket_filter.PACKET_TYPE: socket_filter.OUTGOING if sent else 0,
        socket_filter.VLAN_PRESENT: 0 if within else 1,
        socket_filter.VLAN_TCI: 0 if within else vid | 0x6000,
    }
    code = list(struct.iter_unpack("=HBBI", rows))
    while True:
        operation, yes, no, k = code[at]
        at += 1
        match operation:
            case socket_filter.LOAD_WORD | socket_filter.LOAD_HALF:
                size = 4 if operation == socket_filter.LOAD_WORD else 2
                if k not in beside and k + size > len(frame):
                    return False
                value = beside[k] if k in beside else int.from_bytes(frame[k : k + size], "big")
            case socket_filter.AND:
                value &= k
            case socket_filter.JUMP_IF_EQUAL:
                at += yes if value == k else no
            case socket_filter.RETURN:
                return k > 0


def ether(*layers: Packet) -> Packet:
    packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    for layer in layers:
        packet /= layer
    return packet


@pytest.mark.parametrize("within", [False, True])
def test_the_filter_takes_the_tags_of_each_way(within: bool) -> None:
    rows = program(SENT, RECEIVED)
    taken = [
        (vid, sent)
        for vid in range(8)
        for sent in (False, True)
        if takes(rows, ether(ARP()), vid, sent=sent, within=within)
    ]
    assert taken == [(SENT, True), (RECEIVED, False)]


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("tags", [0, 1, 2])
def test_the_filter_takes_two_addresses_behind_the_users_tags(tags: int, within: bool) -> None:
    vlans = [Dot1Q(vlan=vid) for vid in range(10, 10 + tags)]
    four = program(SENT, RECEIVED, addresses_of((ip_address(A), ip_address(B))), tags)
    six = program(SENT, RECEIVED, addresses_of([ip_address(end) for end in SIX]), tags)

    def both(packet: Packet, vid: int = SENT) -> tuple[bool, bool]:
        one, other = (takes(rows, packet, vid, sent=True, within=within) for rows in (four, six))
        return one, other

    for source, target, taken in ((A, B, True), (B, A, True), (C, B, True), (C, C, False)):
        assert both(ether(*vlans, IP(src=source, dst=target), UDP())) == (taken, False)
    for source, target, taken in ((*SIX, True), ("fd00::9", SIX[0], True), ("fd00::9", "fd00::8", False)):
        assert both(ether(*vlans, IPv6(src=source, dst=target), UDP())) == (False, taken)
    assert both(ether(*vlans, IP(src=A, dst=B), UDP()), RECEIVED) == (False, False)
    assert both(ether(*vlans, Dot1Q(vlan=99), IP(src=A, dst=B), UDP())) == (False, False)


def test_a_session_has_its_packets_errors_and_fragments() -> None:
    frames = Frames(KEY)
    there = IP(src=A, dst=B, id=7) / UDP(sport=1000, dport=80) / Raw(bytes(3000))
    other = IP(src=A, dst=B, id=8) / UDP(sport=1001, dport=80) / Raw(bytes(3000))
    quoted = IP(src=A, dst=B) / UDP(sport=1000, dport=80)
    error = IP(src="192.0.2.1", dst=A) / ICMP(type=3, code=1) / quoted
    back = IP(src=B, dst=A) / UDP(sport=80, dport=1000)
    strange = IP(src=A, dst=B) / TCP(sport=1000, dport=80)
    for packet, taken in ((error, True), (back, True), (strange, False)):
        assert frames.match(bytes(ether(packet))) is taken
    first, *later = (bytes(ether(part)) for part in fragment(there, 1000))
    assert not frames.match(later[0])
    assert frames.match(first)
    assert all(frames.match(part) for part in later)
    assert not any(frames.match(bytes(ether(part))) for part in fragment(other, 1000))


@pytest.mark.parametrize("size", [1, 3, 24, 25, 1000])
def test_records_are_whole_however_they_come(size: int) -> None:
    records = [record(1_700_000_000_000_000_001 + n, bytes(range(n)), n) for n in (60, 1, 0, 200)]
    data = HEADER + b"".join(records)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(whole_records(pieces)) == [HEADER, *records]
    assert list(whole_records([data[:-1]])) == [HEADER, *records[:-1]]
