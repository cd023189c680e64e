"""Checksums and segments, held against scapy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from experiments.replay.packets import corrected, ethertype, fitted, length

V4, V6 = IP(src="192.0.2.1", dst="198.51.100.7"), IPv6(src="2001:db8::1", dst="2001:db8::2")
TRANSPORTS = (TCP(sport=1, dport=2), UDP(sport=1, dport=2))


@pytest.mark.parametrize(
    "packet", [*(v / t for v in (V4, V6) for t in TRANSPORTS), V4 / ICMP(), V6 / ICMPv6EchoRequest()]
)
@given(payload=st.binary(max_size=64))
def test_a_wrong_checksum_becomes_that_of_scapy_and_a_right_one_stays(packet: Packet, payload: bytes) -> None:
    right = bytes(packet / Raw(payload))
    assert corrected(right) is right
    above = packet.payload.copy()
    setattr(above, "chksum" if hasattr(above, "chksum") else "cksum", 0x1234)
    wrong = bytes(type(packet)(src=packet.src, dst=packet.dst) / above / Raw(payload))
    assert wrong == right or corrected(wrong) == right


def test_the_head_of_ipv4_is_corrected_too() -> None:
    right = bytes(V4 / TCP())
    assert corrected(right[:10] + b"\x12\x34" + right[12:]) == right


def test_what_has_no_checksum_of_its_own_stays() -> None:
    for packet in (V4 / UDP(chksum=0) / b"none", *fragment(V4 / UDP(chksum=7) / Raw(b"x" * 3000))):
        assert corrected(bytes(packet)) == bytes(packet)


@given(
    size=st.integers(1, 70_000), mtu=st.integers(600, 9000), flags=st.sampled_from(["A", "PA", "FPA", "PAC"])
)
def test_segments_hold_all_of_it_in_order(size: int, mtu: int, flags: str) -> None:
    payload = bytes(number % 251 for number in range(size))
    for ip in (V4, V6):
        whole = ip / TCP(seq=2**32 - 1000, flags=flags, options=[("Timestamp", (1, 2))]) / Raw(payload)
        whole.payload.chksum = 0
        if isinstance(ip, IP):
            whole.len = (len(ip) + 32 + size) & 0xFFFF  # an offload tells what fits, or 0
        else:
            whole.plen = (32 + size) & 0xFFFF
        pieces = fitted(bytes(whole), mtu)
        parsed = [type(ip)(piece) for piece in pieces]
        assert b"".join(bytes(piece[TCP].payload) for piece in parsed) == payload
        begin = 2**32 - 1000
        for number, (piece, raw) in enumerate(zip(parsed, pieces, strict=True)):
            assert len(raw) == length(raw) <= mtu
            assert piece[TCP].seq == begin % 2**32
            begin += len(piece[TCP].payload)
            if len(pieces) > 1:
                assert corrected(raw) is raw
                last = number == len(pieces) - 1
                assert ("F" in piece[TCP].flags, "P" in piece[TCP].flags) == (
                    "F" in flags and last,
                    "P" in flags and last,
                )
                assert ("C" in piece[TCP].flags) == ("C" in flags and number == 0)


def test_what_is_no_tcp_is_not_cut() -> None:
    assert fitted(bytes(V4 / UDP() / Raw(b"x" * 1473)), 1500) == []
    assert fitted(bytes(V4 / UDP() / Raw(b"x" * 1472)), 1500) == [bytes(V4 / UDP() / Raw(b"x" * 1472))]


def test_what_is_no_ip() -> None:
    assert ethertype(b"") is None
    assert ethertype(b"\x55") is None
    assert length(bytes(IP(len=0) / TCP())[:20]) == 0
