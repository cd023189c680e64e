"""The eBPF splice by BPF_PROG_TEST_RUN: frame in; verdict, frame out, tag and port out."""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from ipaddress import ip_address

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from catenary import libbpf
from catenary.chain import PairState
from catenary.session import End, SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter import records
from lb_adapter.balancer import ChainTable
from lb_adapter.dataplane.base import Affinity, SpliceConfig
from tests.splice_bench import (
    ASK,
    HOURS,
    INNER,
    KEY,
    MACS,
    OUTER,
    PAIRS,
    REASON_NAMES,
    SHOT,
    Bench,
    count_by_tag,
    expected_tags,
    table,
    tcp,
)
from topologies.services import wait_until


def test_master_places_by_the_consistent_hash_of_python(master: Bench) -> None:
    for port in range(1000, 1200):
        assert master.outer(tcp(port)) == ("to_chain", expected_tags(port).forward, INNER)
    assert master.count("session_placed") == 200


def test_frame_goes_into_the_chain_unchanged(master: Bench) -> None:
    frame = tcp()
    master.outer(frame)
    assert master.out == bytes(frame)


@pytest.mark.parametrize("v6", [False, True])
def test_both_directions_have_one_chain(master: Bench, slave: Bench, v6: bool) -> None:
    for port in range(1000, 1050):
        _, forward, _ = master.outer(tcp(port, v6=v6))
        assert slave.inner(forward, tcp(port, v6=v6)) == ("to_outer", 0, OUTER)
        reason, reverse, out = slave.outer(tcp(port, "SA", reverse=True, v6=v6))
        assert (reason, out) == ("to_chain", INNER)
        assert TagPair(forward, reverse) in PAIRS
        assert master.inner(reverse, tcp(port, "SA", reverse=True, v6=v6)) == ("to_outer", 0, OUTER)
    assert master.count("affinity_mismatch") == slave.count("affinity_mismatch") == 0
    assert slave.count("ask_sent") == 0


def test_pin_survives_a_change_of_the_chain_set(master: Bench) -> None:
    before = {port: master.outer(tcp(port)) for port in range(1000, 1100)}
    master.plane.apply(table(*PAIRS, TagPair(8, 9)))
    assert {port: master.outer(tcp(port, "A")) for port in before} == before
    new = {master.outer(tcp(port))[1] for port in range(2000, 2200)}
    assert new == {2, 4, 6, 8}


def test_cooling_chain_keeps_its_sessions_and_gets_no_new_one(master: Bench) -> None:
    before = {port: master.outer(tcp(port))[1] for port in range(1000, 1100)}
    rows = table(*PAIRS).pairs
    cooling = replace(rows[1], state=PairState.COOLING)
    master.plane.apply(ChainTable(2, (rows[0], cooling, rows[2]), {0: 1, 1: 1, 2: 1}))
    assert {port: master.outer(tcp(port, "A"))[1] for port in before} == before
    assert 4 not in {master.outer(tcp(port))[1] for port in range(2000, 2200)}
    assert master.plane.walk()[1].pins == list(before.values()).count(4)


def test_unknown_server_packet_asks_and_the_answer_becomes_a_lease(master: Bench, slave: Bench) -> None:
    frame = tcp(flags="S", reverse=True)
    assert slave.outer(frame) == ("ask_sent", ASK, INNER)
    reason, reverse, port = master.inner(ASK, frame)
    assert (reason, port) == ("ask_answered", INNER)
    assert master.out == bytes(frame)
    assert slave.inner(reverse, frame) == ("to_chain", reverse, INNER)
    assert slave.outer(tcp(flags="A", reverse=True)) == ("to_chain", reverse, INNER), "it is a lease now"
    forward = next(pair.forward for pair in PAIRS if pair.reverse == reverse)
    assert slave.outer(frame) == ("hint_sent", forward, INNER), "a SYN asks, whatever there is"
    assert master.inner(reverse, frame) == ("to_outer", 0, OUTER)
    assert master.outer(tcp(flags="SA")) == ("to_chain", forward, INNER)


def test_ask_finds_the_pin_of_a_client_session(master: Bench) -> None:
    _, forward, _ = master.outer(tcp())
    assert TagPair(forward, master.inner(ASK, tcp(flags="A", reverse=True))[1]) in PAIRS


def test_answer_never_overwrites_a_valid_lease(slave: Bench) -> None:
    slave.inner(4, tcp())
    assert slave.inner(3, tcp(flags="SA", reverse=True)) == ("to_chain", 5, INNER)
    assert slave.count("answer_late") == 1
    assert slave.outer(tcp(flags="A", reverse=True)) == ("to_chain", 5, INNER)


def test_lapsed_lease_goes_along_as_a_hint(master: Bench, slave: Bench) -> None:
    slave.inner(4, tcp())
    slave.configure(Timeouts(lease=0.0625, transit=0.05, tcp_established=7200))
    wait_until(lambda: slave.outer(tcp(flags="A", reverse=True)) == ("hint_sent", 4, INNER), "no hint")
    assert master.inner(4, tcp(flags="A", reverse=True)) == ("ask_answered", 5, INNER)
    assert master.count("hint_honoured") == 1
    assert master.outer(tcp(flags="A")) == ("to_chain", 4, INNER)


def test_server_traffic_does_not_renew_a_lease(slave: Bench) -> None:
    slave.configure(Timeouts(lease=0.2, transit=0.1, tcp_established=7200))
    slave.inner(4, tcp())
    assert slave.outer(tcp(flags="A", reverse=True))[0] == "to_chain"
    wait_until(lambda: slave.outer(tcp(flags="A", reverse=True))[0] == "hint_sent", "no hint", 2.0)


def test_hint_never_beats_a_pin(master: Bench) -> None:
    _, forward, _ = master.outer(tcp())
    wrong = next(pair for pair in PAIRS if pair.forward != forward)
    _, reverse, _ = master.inner(wrong.forward, tcp(flags="A", reverse=True))
    assert TagPair(forward, reverse) in PAIRS
    assert master.count("hint_refused") == 1


def test_hint_of_a_closed_chain_is_placed_anew(master: Bench) -> None:
    rows = table(*PAIRS).pairs
    closed = replace(rows[1], state=PairState.CLOSED)
    master.plane.apply(ChainTable(2, (rows[0], closed, rows[2]), {0: 1, 1: 1, 2: 1}))
    assert master.inner(4, tcp(flags="A", reverse=True))[1] in (3, 7)
    assert master.count("hint_refused") == 1


def test_generation_makes_an_old_lease_worthless(slave: Bench) -> None:
    slave.inner(4, tcp())
    slave.plane.apply(table(*PAIRS, generation=2))
    assert slave.outer(tcp(flags="A", reverse=True)) == ("ask_sent", ASK, INNER)


def test_master_learns_an_unknown_key_from_a_reverse_tag(master: Bench) -> None:
    assert master.inner(5, tcp(flags="SA", reverse=True)) == ("to_outer", 0, OUTER)
    assert master.count("session_learned") == 1
    assert master.outer(tcp(flags="A")) == ("to_chain", 4, INNER)


def test_contradicting_tag_is_counted_and_moves_nothing(master: Bench) -> None:
    _, forward, _ = master.outer(tcp())
    other = next(pair for pair in PAIRS if pair.forward != forward)
    assert master.inner(other.reverse, tcp(flags="SA", reverse=True)) == ("to_outer", 0, OUTER)
    assert master.count("affinity_mismatch") == 1
    assert master.outer(tcp(flags="A")) == ("to_chain", forward, INNER)


def test_expired_pin_is_replaced_in_place(master: Bench) -> None:
    master.configure(Timeouts(lease=0.0625, transit=0.05, tcp_closing=0.1, tcp_opening=0.05))
    master.outer(tcp())
    # No walk runs here, so the entry is still there when the next packet comes.
    deadline = time.monotonic() + 0.3
    wait_until(lambda: time.monotonic() > deadline, "no deadline")
    master.outer(tcp())
    assert master.count("session_revived") == 1
    assert [len(keys) for keys, _ in master.plane.object.map("pins4").batches()] == [16]


@pytest.mark.parametrize("v6", [False, True])
def test_memory_that_went_to_another_key_is_not_believed(master: Bench, v6: bool) -> None:
    """As when the walk deletes a pin under a packet that holds it, and the kernel reuses it at once."""
    master.outer(tcp(v6=v6))
    assert master.outer(tcp(flags="A", v6=v6))[0] == "to_chain"
    become_another_keys(master.plane.object.map("pins6" if v6 else "pins4"))
    assert master.outer(tcp(flags="A", v6=v6))[0] == "drop_dead_pin"


def test_a_lease_in_memory_of_another_key_is_not_believed(slave: Bench) -> None:
    slave.inner(PAIRS[0].forward, tcp())
    assert slave.outer(tcp(flags="A", reverse=True))[0] == "to_chain"
    become_another_keys(slave.plane.object.map("pins4"))
    assert slave.outer(tcp(flags="A", reverse=True))[0] == "ask_sent"


def become_another_keys(pins: libbpf.Map) -> None:
    """The only pin says of itself that it is of another key; before that it must say of its own."""
    ((keys, values),) = pins.batches()
    rows = np.frombuffer(values, records.PIN).copy()
    whole = records.full_keys(np.frombuffer(keys, np.uint8).reshape(1, -1)).copy()
    assert rows["check"].tolist() == records.checks(whole).tolist() != [0]
    whole[0, 33] ^= 1
    rows["check"] = records.checks(whole)
    pins.update(keys, rows.tobytes())


def test_walk_reclaims_what_expired(master: Bench) -> None:
    for port in range(1000, 1020):
        master.outer(tcp(port))
    assert sum(load.pins for load in master.plane.walk().values()) == 20
    master.configure(Timeouts(lease=0.0625, transit=0.05, tcp_closing=0.1, tcp_opening=0.05))
    wait_until(lambda: sum(load.pins for load in master.plane.walk().values()) == 0, "pins live on")
    assert not list(master.plane.object.map("pins4").batches())


def test_fin_both_ways_closes_until_a_syn(master: Bench) -> None:
    _, forward, _ = master.outer(tcp())
    reverse = next(pair.reverse for pair in PAIRS if pair.forward == forward)
    slot = [pair.forward for pair in PAIRS].index(forward)
    master.outer(tcp(flags="A"))
    assert master.plane.walk()[slot].live == 1
    master.outer(tcp(flags="FA"))
    assert master.plane.walk()[slot].live == 1
    master.inner(reverse, tcp(flags="FA", reverse=True))
    assert master.plane.walk()[slot].live == 0, "closing"
    assert master.plane.walk()[slot].pins == 1, "but still pinned"
    closed = master.plane.pin_of(KEY)
    assert closed is not None
    master.outer(tcp(flags="A"))
    assert master.plane.pin_of(KEY) == closed, "right after it, closing keeps its moment"
    master.configure(replace(HOURS, transit=0.05))

    def refreshed() -> bool:
        master.outer(tcp(flags="A"))
        pin = master.plane.pin_of(KEY)
        return pin is not None and pin.seen > closed.seen

    wait_until(
        refreshed, "the pin is not held"
    )  # a late packet holds the pin, for it may have renewed the slave's lease
    assert master.plane.walk()[slot].live == 0
    master.outer(tcp())
    assert master.plane.walk()[slot].live == 1


def test_late_packet_after_a_reset_shows_that_the_session_lives(master: Bench) -> None:
    _, forward, _ = master.outer(tcp())
    slot = [pair.forward for pair in PAIRS].index(forward)
    master.outer(tcp(flags="A"))
    master.outer(tcp(flags="R"))
    assert master.plane.walk()[slot].live == 0
    master.configure(replace(HOURS, transit=0.05))
    wait_until(lambda: master.outer(tcp(flags="A")) and master.plane.walk()[slot].live == 1, "no live pin")


def test_forged_reset_does_not_cut(master: Bench) -> None:
    _, forward, _ = master.outer(tcp())
    master.outer(tcp(flags="A"))
    master.outer(tcp(flags="R"))
    assert master.outer(tcp(flags="A")) == ("to_chain", forward, INNER)


def test_arp_and_neighbour_discovery_come_back_the_way_they_went(master: Bench, slave: Bench) -> None:
    ask = Ether(src=MACS["src"], dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2")
    _, forward, _ = master.outer(ask)
    slave.inner(forward, ask)
    reply = Ether(**MACS) / ARP(op=2, psrc="10.0.0.2", pdst="10.0.0.1")
    assert TagPair(forward, slave.outer(reply)[1]) in PAIRS
    solicit = Ether(src=MACS["src"], dst="33:33:ff:00:00:02") / IPv6(src="fd00::1", dst="ff02::1:ff00:2")
    reason, _, _ = master.outer(solicit / ICMPv6ND_NS(tgt="fd00::2"))
    assert reason == "to_chain"
    assert master.count("session_placed") == 2


@pytest.mark.parametrize(
    "frame",
    [
        Ether(src=MACS["src"], dst="01:80:c2:00:00:0e", type=0x88CC) / (b"\0" * 50),
        Ether(src=MACS["src"], dst="01:00:5e:00:00:fb") / IP(dst="224.0.0.251") / UDP(sport=5353, dport=5353),
        Ether(**MACS) / Dot1Q(vlan=100) / Dot1Q(vlan=200) / Dot1Q(vlan=300) / IP() / UDP(),
    ],
)
def test_what_is_no_session_takes_the_designated_chain(master: Bench, slave: Bench, frame: Packet) -> None:
    assert master.outer(frame) == ("designated", 2, INNER)
    assert slave.outer(frame) == ("designated", 3, INNER)
    assert slave.inner(2, frame) == ("designated", 0, OUTER)


def test_users_own_tag_is_kept_and_part_of_the_key(master: Bench) -> None:
    inner = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2)
    frame = Ether(**MACS) / Dot1Q(vlan=100, prio=5) / inner
    _, forward, _ = master.outer(frame)
    key = SessionKey.of(End(ip_address("10.0.0.1"), 1), End(ip_address("10.0.0.2"), 2), 17, (100, 0))
    assert master.plane.pin_of(key) is not None
    assert master.outer(frame)[1] == forward


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (bytes(tcp())[:40], "drop_malformed"),
        (bytes(Ether(**MACS) / IP(ihl=4, proto=6) / (b"\0" * 20)), "drop_malformed"),
        (bytes(Ether(**MACS, type=0x0800) / (b"\x65" + b"\0" * 40)), "drop_malformed"),
        (bytes(Ether(**MACS) / IPv6(nh=6) / (b"\0" * 10)), "drop_malformed"),
        (bytes(Ether(**MACS) / ARP())[:30], "drop_malformed"),
    ],
)
def test_malformed_frame_is_dropped_and_counted(master: Bench, frame: bytes, reason: str) -> None:
    run = master.plane.object.program("outer").run(frame)
    assert (run.verdict, REASON_NAMES[run.cb[0]]) == (SHOT, reason)
    assert master.count(reason) == 1


def test_unknown_and_missing_tags_are_dropped(master: Bench, slave: Bench) -> None:
    assert master.inner(99, tcp()) == ("drop_unknown_tag", 0, 0)
    assert slave.inner(ASK, tcp()) == ("drop_unknown_tag", 0, 0)
    assert master._run("inner", bytes(tcp())) == ("drop_untagged", 0, 0)


def test_without_any_chain_traffic_is_dropped_and_counted(master: Bench) -> None:
    master.plane.apply(ChainTable(2))
    assert master.outer(tcp()) == ("drop_no_chain", 0, 0)
    assert master.inner(ASK, tcp(reverse=True)) == ("drop_no_chain", 0, 0)
    assert master.count("drop_no_chain") == 2


def test_p2c_prefers_the_chain_with_fewer_live_sessions(master: Bench) -> None:
    master.configure(HOURS, "p2c")
    counts = count_by_tag(master, range(1000, 1600))
    assert max(counts.values()) - min(counts.values()) <= 6, "two choices even out what one leaves uneven"


def test_p2c_weighs_sessions_by_weight_and_leaves_out_what_is_cordoned(master: Bench) -> None:
    master.configure(HOURS, "p2c")
    rows = table(*PAIRS).pairs
    weighed = (replace(rows[0], placed=300), rows[1], replace(rows[2], placed=0))
    master.plane.apply(ChainTable(2, weighed, {0: 1, 1: 1, 2: 1}))
    counts = count_by_tag(master, range(1000, 1600))
    assert set(counts) == {2, 4}
    assert 2.6 < counts[2] / counts[4] < 3.4


def test_walk_corrects_the_loads_that_p2c_weighs(master: Bench) -> None:
    master.configure(HOURS, "p2c")
    count_by_tag(master, range(1000, 1300))
    for port in range(1000, 1300):
        master.outer(tcp(port, flags="R"))  # an opening session ends by its client's RST
    loads = [
        struct.unpack("=Q", master.plane.object.map("loads").get(bytes([i, 0, 0, 0])) or b"")[0]
        for i in range(3)
    ]
    assert loads == [0, 0, 0]


@pytest.mark.parametrize("affinity", ["addresses", "client"])
def test_coarse_affinity_keeps_all_ports_together_both_ways(
    master: Bench, slave: Bench, affinity: Affinity
) -> None:
    for bench in (master, slave):
        bench.configure(HOURS, affinity=affinity)
    tags = count_by_tag(master, range(1000, 1020))
    assert len(tags) == 1
    (forward,) = tags
    slave.inner(forward, tcp())
    reverse = next(pair.reverse for pair in PAIRS if pair.forward == forward)
    assert slave.outer(tcp(4242, "SA", reverse=True)) == ("to_chain", reverse, INNER)
    elsewhere = Ether(**MACS) / IP(src="10.0.0.1", dst="10.0.0.99") / UDP(sport=1, dport=2)
    same = [master.outer(elsewhere)[1] == forward]
    if affinity == "client":
        assert same == [True]
        assert master.plane.walk()[[p.forward for p in PAIRS].index(forward)].pins == 1


def test_slave_that_has_not_met_its_master_drops(slave: Bench) -> None:
    config = SpliceConfig("slave", "outer", "inner", None, Timeouts())
    slave.plane.configure(config, outer=OUTER, inner=INNER)
    assert slave.outer(tcp(reverse=True)) == ("drop_not_ready", 0, 0)
