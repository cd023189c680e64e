"""What enters the chains and what passes by: the classifier chooses once, then the pin decides."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from catenary.classifier import Rule
from lb_adapter.core.setup import Order, Setup, Slot
from tests.vectors.acting import (
    CHAIN0,
    CHAIN1,
    SLOTS,
    A,
    B,
    D,
    L,
    Make,
    answer,
    entries,
    said,
    setup,
    tcp,
    to_client,
    to_server,
)

WEB = (Rule(0, protocol=6, ports=(80, 80)),)
PAST = 3
PASSES, ANSWERED = ("inner", 8, "to_chain"), ("inner", 9, "ask_answered")


def _passing(role: str = "master", rules: tuple[Rule, ...] = WEB, **fields: object) -> Setup:
    """Three chains and the bypass, with the tags 8 and 9; what enters goes to chain 0."""
    made = setup(role, slots={**SLOTS, PAST: Slot(8, 9, weight=0, placed=0)}, rules=rules, bypass=PAST)
    return replace(made, **fields)  # type: ignore[arg-type]


def _mail(flags: str, tag: int | None = None) -> bytes:
    return to_server(TCP(sport=1000, dport=25, flags=flags), tag)


def _mail_back(flags: str, tag: int | None = None) -> bytes:
    return to_client(TCP(sport=25, dport=1000, flags=flags), tag)


def _frame(packet: Packet) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


def what_no_rule_matches_passes_by(make: Make) -> None:
    master, slave = make(_passing()), make(_passing("slave"))
    assert said(master.outer(tcp("S"), 0)) == CHAIN0
    assert said(master.outer(_mail("S"), 0)) == PASSES
    assert said(slave.inner(_mail("S", 8), 1)) == ("outer", 0, "to_outer")
    assert said(slave.outer(_mail_back("SA"), 2)) == ("inner", 9, "to_chain"), "its tag taught the slave"
    assert said(master.inner(_mail_back("SA", 9), 3)) == ("outer", 0, "to_outer")
    assert said(master.outer(_mail("A"), 4)) == PASSES
    assert not master.counts["affinity_mismatch"] + slave.counts["affinity_mismatch"]
    assert dict(master.entered) == {0: 1}


def the_servers_side_is_judged_alike(make: Make) -> None:
    """Whoever speaks first: the port is that of the servers' side."""
    splice = make(_passing())
    assert said(splice.inner(answer("S", 4094), 0)) == ("inner", 3, "ask_answered")
    assert said(splice.inner(_mail_back("S", 4094), 0)) == ANSWERED
    assert said(splice.outer(to_server(TCP(sport=80, dport=2000, flags="S")), 0)) == PASSES
    assert said(splice.inner(to_client(TCP(sport=2001, dport=80, flags="S"), 4094), 0)) == ANSWERED
    assert dict(splice.entered) == {0: 1}


def new_rules_move_nothing_that_lives(make: Make) -> None:
    splice, slave = make(_passing()), make(_passing("slave"))
    splice.outer(tcp("S"), 0)
    splice.outer(_mail("S"), 0)
    slave.inner(_mail("S", 8), 0)
    mail = (Rule(0, protocol=6, ports=(20, 25)),)
    splice.configure(_passing(rules=mail))
    slave.configure(_passing("slave", rules=mail))
    assert said(splice.outer(tcp("A"), 1)) == CHAIN0
    assert said(splice.outer(_mail("A"), 1)) == PASSES
    assert said(slave.outer(_mail_back("A"), L)) == ("inner", 8, "hint_sent")
    assert said(splice.inner(_mail_back("A", 8), L)) == ANSWERED
    assert said(splice.outer(tcp("S", port=1001), 2)) == PASSES, "a new one goes by the new rules"
    splice.configure(_passing(rules=(), bypass=None))
    assert said(splice.outer(_mail("A"), 3)) == PASSES
    assert said(splice.outer(to_server(TCP(sport=1002, dport=25, flags="S")), 3)) == CHAIN0


def what_was_let_go_is_judged_anew(make: Make) -> None:
    splice = make(_passing())
    splice.outer(_mail("S"), 0)
    splice.configure(_passing(rules=(Rule(0, protocol=6),)))
    assert splice.sweep(Order("delete", slot=(PAST, 1)), 1) == (0, 1)
    assert said(splice.outer(_mail("A"), 2)) == CHAIN0


def only_what_a_rule_let_in_is_counted_as_its_own(make: Make) -> None:
    """A connection soon after a reset goes back to its chain, which nobody chose anew."""
    splice = make(_passing())
    splice.outer(tcp("S"), 0)
    splice.sweep(Order("reset"), 1)
    assert said(splice.outer(tcp("S"), 2)) == CHAIN0
    assert (splice.counts["session_placed"], dict(splice.entered)) == (2, {0: 1})
    splice.sweep(Order("reset"), 3)
    assert said(splice.outer(tcp("S"), 4 + 2 * D)) == CHAIN0
    assert dict(splice.entered) == {0: 2}, "later, it is judged anew"


def errors_and_fragments_follow_their_session(make: Make) -> None:
    splice = make(_passing())
    first = IP(src=A, dst=B, id=7, flags="MF") / UDP(sport=5, dport=6) / Raw(b"x" * 16)
    later = IP(src=A, dst=B, id=7, frag=3, proto=17) / Raw(b"x" * 16)
    assert said(splice.outer(_frame(later), 0)) == ("", 0, "drop_fragment_unknown"), "never guessed"
    assert said(splice.outer(_frame(first), 1)) == PASSES
    assert said(splice.outer(_frame(later), 2)) == PASSES
    quoted = IP(src=B, dst=A) / UDP(sport=6, dport=5) / Raw(b"x" * 8)
    about = IP(src=A, dst=B) / ICMP(type=3, code=3) / quoted
    assert said(splice.outer(_frame(about), 3)) == PASSES
    other = IP(src=A, dst=B) / ICMP(type=3, code=3) / IP(src=B, dst=A) / UDP(sport=9, dport=9) / Raw(b"x" * 8)
    assert said(splice.outer(_frame(other), 3)) == ("", 0, "drop_error_unknown")


def neighbours_and_what_is_no_session_go_with_the_chains(make: Make) -> None:
    """An NF may be the one that is asked for; only without any chain they pass by."""
    arp = bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=A, pdst=B))
    query = _frame(IPv6(src="fd00::1", dst="fd00::2") / ICMPv6ND_NS(tgt="fd00::2"))
    group = bytes(Ether(dst="01:00:5e:00:00:fb") / IP(src=A, dst="224.0.0.251") / UDP(dport=5353))
    splice = make(_passing())
    assert [said(splice.outer(frame, 0)) for frame in (arp, query)] == [CHAIN0, CHAIN0]
    assert said(splice.outer(group, 0)) == ("inner", 2, "designated")
    alone = make(_passing(entries=entries(None), designated=PAST))
    assert [said(alone.outer(frame, 0)) for frame in (arp, query)] == [PASSES, PASSES]
    assert said(alone.outer(group, 0)) == ("inner", 8, "designated")
    assert said(alone.outer(tcp("S"), 0)) == ("", 0, "drop_no_chain"), "what enters never passes by"
    assert dict(alone.entered) == {}


def without_room_the_answer_is_the_same(make: Make) -> None:
    """Rule 7: with a pin and without one."""
    splice = make(_passing(capacity=1, policy="p2c", entries=entries(1)))
    splice.outer(tcp("S"), 0)
    assert said(splice.outer(_mail("S"), 1)) == PASSES
    assert splice.overflow
    assert said(splice.outer(_mail("A"), 2)) == PASSES
    assert said(splice.inner(_mail_back("A", 4), 3)) == ANSWERED, "no hint counts"
    assert said(splice.outer(tcp("S", port=1001), 4)) == CHAIN1
    full = make(_passing(capacity=1))
    full.outer(tcp("S"), 0)
    assert said(full.inner(_mail_back("A", 4), 1)) == ANSWERED, "nor does one that found no room"
    refusing = make(_passing(capacity=1, refuse_full=True))
    refusing.outer(tcp("S"), 0)
    assert said(refusing.outer(_mail("S"), 1)) == ("", 0, "drop_table_full")


def only_what_is_judged_alike_from_both_ends_is_evicted(make: Make) -> None:
    """A pin does not tell which end is the client's."""
    splice = make(_passing())
    splice.outer(tcp("S"), 0)
    splice.outer(_mail("S"), 0)
    splice.outer(to_server(TCP(sport=80, dport=80, flags="S")), 0)
    splice.overflow = True
    splice.walk(1)
    assert splice.counts["evicted"] == 2
    assert said(splice.outer(tcp("A"), 2)) == CHAIN0
    assert said(splice.outer(_mail("A"), 2)) == PASSES


def each_part_of_a_rule_counts(make: Make) -> None:
    rules = (
        Rule(0, ip_network("10.0.0.0/25"), ip_network("10.0.0.2/32"), 6, (8000, 8099)),
        Rule(1, vlan=200),
        Rule(2, client=ip_network("::/0"), protocol=17),
        Rule(2, server=ip_network("fd00::/16")),
        Rule(3, protocol=1),
    )
    splice = make(_passing(rules=rules))

    def enters(packet: Packet) -> bool:
        return said(splice.outer(_frame(packet), 0)) == CHAIN0

    web = TCP(sport=1, dport=8000)
    assert enters(IP(src="10.0.0.127", dst=B) / web)
    assert enters(IP(src=A, dst=B) / TCP(sport=1, dport=8099))
    assert not enters(IP(src=A, dst=B) / TCP(sport=1, dport=8100))
    assert not enters(IP(src=A, dst=B) / TCP(sport=1, dport=7999))
    assert not enters(IP(src="10.0.0.128", dst=B) / web)
    assert not enters(IP(src=A, dst="10.0.0.3") / web)
    assert not enters(IP(src=A, dst=B) / UDP(sport=1, dport=8000))
    assert enters(Dot1Q(vlan=200) / IP(src=A, dst=B) / UDP(sport=2, dport=2))
    assert enters(Dot1Q(vlan=50) / Dot1Q(vlan=200) / IP(src=A, dst=B) / UDP(sport=3, dport=2))
    assert not enters(Dot1Q(vlan=50) / IP(src=A, dst=B) / UDP(sport=4, dport=2))
    assert enters(IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5, dport=2))
    assert not enters(IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=5, dport=2))
    assert enters(IPv6(src="2001:db8::1", dst="fd00::2") / TCP(sport=5, dport=2))
    assert not enters(IPv6(src="fd00::2", dst="2001:db8::1") / TCP(sport=6, dport=2))
    assert enters(IP(src=A, dst=B) / ICMP(id=1))
    assert not enters(IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest(id=1))
    assert dict(splice.entered) == {0: 2, 1: 2, 2: 2, 3: 1}


def a_prefix_of_ipv6_holds_no_ipv4(make: Make) -> None:
    for rule in (Rule(0, client=ip_network("::/0")), Rule(0, server=ip_network("::/0"))):
        splice = make(_passing(rules=(rule,)))
        assert said(splice.outer(tcp("S"), 0)) == PASSES
        six = _frame(IPv6(src="fd00::1", dst="fd00::2") / TCP(flags="S"))
        assert said(splice.outer(six, 0)) == CHAIN0


def coarse_keys_are_judged_by_their_addresses(make: Make) -> None:
    ours = Rule(0, client=ip_network("10.0.0.1/32"))
    for affinity in ("addresses", "client"):
        splice = make(_passing(rules=(ours,), affinity=affinity))
        assert said(splice.outer(tcp("S"), 0)) == CHAIN0
        assert said(splice.inner(answer("S", 4094, 7), 0)) == ("inner", 3, "ask_answered")
        away = IP(src=B, dst=A) / TCP(sport=1, dport=2, flags="S")
        fresh = make(_passing(rules=(ours,), affinity=affinity))
        assert said(fresh.outer(_frame(away), 0)) == PASSES
    both = make(_passing(rules=(Rule(0, server=ip_network("10.0.0.2/32")),), affinity="addresses"))
    assert said(both.inner(answer("S", 4094), 0)) == ("inner", 3, "ask_answered")


def a_syn_on_what_closed_is_judged_anew(make: Make) -> None:
    """The bypass takes no new session by itself: rule 5 holds for it as for a chain that cools down."""
    splice = make(_passing())
    splice.outer(_mail("S"), 0)
    splice.outer(_mail("R"), 1)
    splice.configure(_passing(rules=(Rule(0, protocol=6),)))
    assert said(splice.outer(_mail("S"), 300)) == PASSES, "too early"
    splice = make(_passing())
    splice.outer(_mail("R"), 1)
    splice.configure(_passing(rules=(Rule(0, protocol=6),)))
    assert said(splice.outer(_mail("S"), 500)) == CHAIN0
