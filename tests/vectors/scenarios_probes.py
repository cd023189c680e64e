"""Probes of chains: turned by the slave, noted by the master, and sessions of nobody."""

from __future__ import annotations

from ipaddress import IPv4Address

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from lb_adapter.core.setup import Slot
from tests.vectors.acting import CHAIN0, A, B, Make, entries, said, setup, tcp

ENDS = (IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2"))
LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
THERE, BACK = LINK / IP(src="10.9.0.1", dst="10.9.0.2"), LINK / IP(src="10.9.0.2", dst="10.9.0.1")
NAMED = Raw(b"catenary" + bytes(20) + b"\1\2" + bytes(10))
RAW = Ether(src=LINK.src, dst=LINK.dst, type=0x88B5) / NAMED
DATA = Raw(b"\1\2" + bytes(10))
ECHO, DATAGRAM = THERE / ICMP(id=7, seq=258) / DATA, THERE / UDP(sport=5, dport=7) / DATA
OPENING = THERE / TCP(sport=5, dport=7, flags="S", seq=0x01020000)
PROBES = (RAW, ECHO, DATAGRAM, OPENING)
DROPPED, RETURNED = ("", 0, "drop_probe"), ("", 0, "probe_returned")


def _in(frame: Packet, vid: int) -> bytes:
    raw = bytes(frame)
    return raw[:12] + b"\x81\x00" + vid.to_bytes(2, "big") + raw[12:]


def the_slave_sends_the_answer_back_into_the_chain(make: Make) -> None:
    answers = (
        Ether(src=LINK.dst, dst=LINK.src, type=0x88B5) / NAMED,
        BACK / ICMP(type="echo-reply", id=7, seq=258) / DATA,
        BACK / UDP(sport=7, dport=5) / DATA,
        BACK / TCP(sport=7, dport=5, flags="RA", seq=0, ack=0x01020001),
    )
    for probe, expected in zip(PROBES, answers, strict=True):
        if IP in expected:
            expected.src, expected.dst = LINK.dst, LINK.src
        slave = make(setup("slave", probes=ENDS))
        outcome = slave.inner(_in(probe, 4), 0)
        assert said(outcome) == ("inner", 5, "probe_turned")
        assert outcome[1] == _in(expected, 5), probe.summary()
        assert dict(slave.counts) == {"probe_turned": 1}, "no lease, and nothing else"


def the_master_takes_the_answer(make: Make) -> None:
    for probe in (RAW, BACK / ICMP(type=0, id=7) / DATA, BACK / UDP(dport=5) / DATA, BACK / TCP(flags="RA")):
        master = make(setup(probes=ENDS))
        assert said(master.inner(_in(probe, 5), 0)) == RETURNED
        assert dict(master.counts) == {"probe_returned": 1}, "no pin, and nothing else"


def nobody_else_sends_probes(make: Make) -> None:
    for role, bypass in (("master", (4094, 2)), ("slave", (3,))):
        for probe in PROBES:
            splice = make(setup(role, probes=ENDS))
            assert said(splice.outer(bytes(probe), 0)) == DROPPED
            assert all(said(splice.inner(_in(probe, vid), 0)) == DROPPED for vid in bypass)
            assert said(splice.inner(_in(probe, 4094 if role == "slave" else 77), 0)) != DROPPED


def a_closed_or_cooling_chain_is_probed_too(make: Make) -> None:
    slave = make(setup("slave", slots={0: Slot(2, 3, state="closed")}))
    assert said(slave.inner(_in(RAW, 2), 0)) == ("inner", 3, "probe_turned")


def coarse_keys_make_no_difference(make: Make) -> None:
    for affinity in ("addresses", "client"):
        slave = make(setup("slave", probes=ENDS, affinity=affinity))
        assert said(slave.inner(_in(ECHO, 2), 0)) == ("inner", 3, "probe_turned")


def what_only_looks_like_a_probe_is_traffic(make: Make) -> None:
    to_outer, seen = ("outer", 0, "to_outer"), ("outer", 0, "designated")
    slave = make(setup("slave", probes=ENDS))
    for frame, expected in (
        (LINK / IP(src=A, dst="10.9.0.2") / UDP() / DATA, to_outer),
        (LINK / IP(src="10.9.0.1", dst=B) / UDP() / DATA, to_outer),
        (LINK / IP(src="10.9.0.1", dst="10.9.0.9") / UDP() / DATA, to_outer),
        (THERE / UDP(), to_outer),
        (LINK / Dot1Q(vlan=9) / ECHO[IP], to_outer),
        (LINK / IP(src="10.9.0.1", dst="10.9.0.2", options=[b"\1" * 4]) / UDP() / DATA, to_outer),
        (LINK / IP(src="10.9.0.1", dst="10.9.0.2", flags="MF") / UDP() / DATA, to_outer),
        (LINK / IP(src="10.9.0.1", dst="10.9.0.2", proto=47) / Raw(bytes(40)), to_outer),
        (LINK / Dot1Q(vlan=9, type=0x88B5) / NAMED, seen),
        (Ether(type=0x88B5) / Raw(b"catenarx" + bytes(40)), seen),
        (Ether(type=0x88B5) / Raw(b"catenary" + bytes(31)), seen),
    ):
        assert said(slave.inner(_in(frame, 2), 0)) == expected, frame.summary()
    assert said(make(setup("slave")).inner(_in(ECHO, 2), 0)) == to_outer, "nobody told it of addresses"


def sessions_go_on_beside_probes(make: Make) -> None:
    master = make(setup(probes=ENDS, entries=entries(0)))
    assert said(master.outer(tcp("S"), 0)) == CHAIN0
    assert said(master.inner(_in(RAW, 3), 1)) == RETURNED
    assert said(master.outer(tcp("A"), 2)) == CHAIN0
