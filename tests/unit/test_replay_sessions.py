"""Sessions of a capture: who is the client, what belongs to them, what is left out and said."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from catenary.errors import InvalidValue
from catenary.session import End
from experiments.replay.capture import CUT, MALFORMED, NOT_IP, Frame
from experiments.replay.sessions import GROUP, ORPHAN, OTHER_TAG, TOO_LONG, Session, split
from tests.captures import SERVER_MAC, arp, dns, http, mixed

A, B = "192.0.2.1", "198.51.100.7"
ETHERNET = Ether(src="02:00:00:00:00:0a", dst=SERVER_MAC)


def frames(*packets: Packet) -> list[Frame]:
    """As captured, 1 ms apart."""
    return [Frame(number * 10**6, 1, bytes(packet), len(packet)) for number, packet in enumerate(packets)]


def only(*packets: Packet) -> Session:
    [session] = split(frames(*packets)).sessions
    return session


def tcp(source: str, sport: int, target: str, dport: int, flags: str) -> Packet:
    return ETHERNET / IP(src=source, dst=target) / TCP(sport=sport, dport=dport, flags=flags)


def test_sessions_are_found_with_their_clients_and_in_order() -> None:
    talks = mixed(6, 2)
    found = split(frames(*(packet for talk in talks for packet in talk)))
    assert [session.name for session in found.sessions] == [
        *(f"192.0.2.{n + 1}:{2000 + n} -> 203.0.113.9:80/tcp" for n in range(6)),
        "[2001:db8::1]:4000 -> [2001:db8::2]:80/tcp",
        "192.0.2.1:5353 -> 203.0.113.53:53/udp",
    ]
    assert found.left_out == {NOT_IP: 1}
    assert (found.frames, found.packets) == (sum(map(len, talks)), sum(map(len, talks)) - 1)
    assert (found.corrected, found.cut) == (0, 0)
    for talk, session in zip(talks, found.sessions, strict=False):
        assert [step.data for step in session.steps] == [bytes(packet[1]) for packet in talk]
        assert [step.from_client for step in session.steps] == [packet.dst == SERVER_MAC for packet in talk]


TALKS = [frames(*talk) for talk in mixed(4, 1)]


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_whatever_lies_between_them_sessions_keep_their_packets_in_order(dice: random.Random) -> None:
    lanes, merged = [list(talk) for talk in TALKS], list[Frame]()
    while left := [lane for lane in lanes if lane]:
        merged.append(replace(dice.choice(left).pop(0), time_ns=len(merged)))
    apart = {session.name: said(session) for talk in TALKS[:-1] for session in split(talk).sessions}
    together = split(merged).sessions
    assert {session.name: said(session) for session in together} == apart
    begins = [session.steps[0].time_ns for session in together]
    assert begins == sorted(begins)


def said(session: Session) -> list[tuple[bool, bytes]]:
    return [(step.from_client, step.data) for step in session.steps]


@pytest.mark.parametrize(
    "packets,client",
    [
        ([tcp(A, 5000, B, 80, "S"), tcp(B, 80, A, 5000, "SA")], A),
        ([tcp(B, 80, A, 5000, "A"), tcp(A, 5000, B, 80, "S")], A),  # what ended before it began
        ([tcp(B, 80, A, 5000, "SA"), tcp(A, 5000, B, 80, "A")], A),  # the SYN was not captured
        ([tcp(B, 80, A, 5000, "PA"), tcp(A, 5000, B, 80, "A")], B),
        ([ETHERNET / IP(src=B, dst=A) / UDP(sport=53, dport=9)], B),
        ([ETHERNET / IP(src=B, dst=A, proto=47)], B),
    ],
)
def test_the_client_is_who_opens(packets: list[Packet], client: str) -> None:
    session = only(*packets)
    assert session.client.address == ip_address(client)
    assert [step.from_client for step in session.steps] == [packet[IP].src == client for packet in packets]


def test_echoes_go_by_their_identifier() -> None:
    request = IP(src=A, dst=B) / ICMP(type=8, id=7, seq=1)
    reply = IP(src=B, dst=A) / ICMP(type=0, id=7, seq=1)
    session = only(ETHERNET / request, ETHERNET / reply)
    assert session.client == End(ip_address(A), 7)
    assert [step.from_client for step in session.steps] == [True, False]


def test_fragments_go_with_the_first() -> None:
    pieces = fragment(IP(src=A, dst=B, id=77) / UDP(sport=9, dport=53) / Raw(b"x" * 3000), fragsize=1000)
    answer = IP(src=B, dst=A, id=77) / UDP(sport=53, dport=9)
    session = only(*(ETHERNET / packet for packet in (pieces[0], answer, *pieces[1:])))
    assert [step.from_client for step in session.steps] == [True, False, True, True, True]
    head = IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(id=9)
    pieces6 = fragment6(head / UDP(sport=9, dport=53) / Raw(b"x" * 3000), 1280)
    assert len(only(*(ETHERNET / packet for packet in pieces6)).steps) == len(pieces6) > 2


def test_icmp_errors_go_with_the_session_that_they_quote_against_its_packet() -> None:
    asked = IP(src=A, dst=B) / UDP(sport=9, dport=53)
    error = IP(src="203.0.113.1", dst=A) / ICMP(type=3, code=3) / asked.copy()
    session = only(ETHERNET / asked, ETHERNET / error)
    assert [step.from_client for step in session.steps] == [True, False]
    told = IPv6(src="fd00::2", dst="fd00::1") / TCP(sport=80, dport=9, flags="A")
    syn = IPv6(src="fd00::1", dst="fd00::2") / TCP(sport=9, dport=80, flags="S")
    too_big = IPv6(src="fd00::9", dst="fd00::2") / ICMPv6PacketTooBig() / told.copy()
    session = only(*(ETHERNET / packet for packet in (syn, told, too_big)))
    assert [step.from_client for step in session.steps] == [True, False, True]


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    long = IP(src=A, dst=B) / UDP(sport=9, dport=53) / Raw(b"x" * 1473)
    packets = [
        *dns(A, 9, B),
        *arp(),
        ETHERNET / IP(src=A, dst="224.0.0.251") / UDP(),
        Ether(dst="ff:ff:ff:ff:ff:ff") / IP(src=A, dst="192.0.2.255") / UDP(),
        ETHERNET / IPv6(dst="ff02::1") / UDP(),
        ETHERNET / fragment(IP(src=A, dst=B, id=78) / UDP() / Raw(b"x" * 3000))[1],
        ETHERNET / IP(src=A, dst=B) / ICMP(type=3) / IP(src=B, dst=A) / UDP(sport=1, dport=2),
        ETHERNET / IP(src=A, dst=B, proto=6) / Raw(b"short"),
        ETHERNET / long,
        ETHERNET / Dot1Q(vlan=5) / dns(A, 9, B)[0][IP],
    ]
    cut = Frame(0, 1, bytes(packets[0])[:-4], len(packets[0]))
    found = split([*frames(*packets), cut])
    assert found.left_out == {NOT_IP: 1, GROUP: 3, ORPHAN: 2, MALFORMED: 1, TOO_LONG: 1, OTHER_TAG: 1, CUT: 1}
    assert [len(session.steps) for session in found.sessions] == [2]


def test_a_session_under_tags_of_its_own_for_each_way_is_whole() -> None:
    there, back = dns(A, 9, B)
    tagged = [ETHERNET / Dot1Q(vlan=vlan) / packet[IP] for vlan, packet in ((5, there), (6, back))]
    assert [step.data for step in only(*tagged).steps] == [bytes(there[IP]), bytes(back[IP])]


def test_offloads_are_made_good_and_told() -> None:
    talk = http(A, 4000, B, size=20_000)
    big = (
        ETHERNET
        / IP(src=B, dst=A)
        / TCP(sport=80, dport=4000, flags="PA", seq=501, chksum=7)
        / Raw(b"y" * 4000)
    )
    talk[3][TCP].chksum = 0x1234
    raw = frames(*talk[:4], big)
    found = split(raw)
    assert (found.corrected, found.cut, found.packets) == (1, 1, 7)
    assert found.sessions[0].steps[3].data == bytes(http(A, 4000, B)[3][IP])
    kept = split(raw, correct=False)
    assert kept.sessions[0].steps[3].data == bytes(talk[3])[14:]
    assert kept.corrected == 0


def test_a_clock_that_goes_back_changes_no_order() -> None:
    raw = frames(*dns(A, 9, B))
    late = Frame(raw[0].time_ns + 10**9, 1, raw[0].data, raw[0].length)
    [session] = split([late, raw[1]]).sessions
    assert [step.from_client for step in session.steps] == [True, False]
    assert session.steps[0].time_ns == session.steps[1].time_ns == late.time_ns


def test_a_capture_without_sessions_is_refused() -> None:
    with pytest.raises(
        InvalidValue, match=r"no IP session to replay: of its 2 frames, 2 not IP, such as ARP"
    ):
        split(frames(ETHERNET / ARP(), ETHERNET / ARP()))
