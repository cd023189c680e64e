"""Where a frame goes: affinity rules 1, 2, 3 and 7, spelled out.

A scenario takes `make`, which makes a splice of a `Setup`: the oracle and the C core must both pass it.
"""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from lb_adapter.core.oracle import lanes
from lb_adapter.core.oracle_pin import State
from lb_adapter.core.setup import Verdict
from tests.vectors.acting import (
    CHAIN0,
    CHAIN1,
    SIZE,
    SLOTS,
    TIMES,
    A,
    B,
    D,
    L,
    Make,
    answer,
    entries,
    key_of,
    said,
    setup,
    tcp,
    with_tag,
)


def a_pin_decides_not_the_table(make: Make) -> None:
    """Rules 1 and 2: the master learns from a reverse tag, and goes by the pin from then on."""
    splice = make(setup())
    assert said(splice.inner(answer("SA", 5), 0)) == ("outer", 0, "to_outer")
    assert said(splice.outer(tcp("A"), 10)) == CHAIN1
    assert splice.counts["session_learned"] == 1


def a_tag_never_moves_a_pin(make: Make) -> None:
    splice = make(setup())
    assert said(splice.outer(tcp("S"), 0)) == CHAIN0
    assert said(splice.inner(answer("SA", 5), 1)) == ("outer", 0, "to_outer")
    assert splice.counts["affinity_mismatch"] == 1
    assert said(splice.outer(tcp("A"), 2)) == CHAIN0


def the_frame_gets_its_tag_and_loses_it(make: Make) -> None:
    master, slave = make(setup()), make(setup("slave"))
    verdict, out = master.outer(tcp("S"), 0)
    assert out == tcp("S", 2)
    assert slave.inner(out, 0) == (Verdict("outer", 0, "to_outer", 0), tcp("S"))
    assert verdict == Verdict("inner", 2, "to_chain", 0)


def a_tag_beside_the_frame_comes_back_into_it(make: Make) -> None:
    splice = make(setup())
    assert splice.outer(tcp("S"), 0, 100)[1] == with_tag(tcp("S", 100), 2)
    assert splice.inner(answer("SA"), 0, 3)[1] == answer("SA")


def a_lease_decides_and_lapses(make: Make) -> None:
    """Rules 3 and 5: no lease: ask; a valid one: its chain; a lapsed one: a hint, for T."""
    splice = make(setup("slave"))
    assert said(splice.outer(answer("SA"), 0)) == ("inner", 4094, "ask_sent")
    splice.inner(tcp("S", 4), 0)
    assert said(splice.outer(answer("SA"), L - 1)) == ("inner", 5, "to_chain")
    assert said(splice.outer(answer("SA"), L)) == ("inner", 4, "hint_sent")
    last = TIMES.tau[State.OPENING] + L + 2 * D
    assert said(splice.outer(answer("SA"), last - 1)) == ("inner", 4, "hint_sent")
    assert said(splice.outer(answer("SA"), last)) == ("inner", 4094, "ask_sent")


def server_traffic_proves_nothing(make: Make) -> None:
    splice = make(setup("slave"))
    splice.inner(tcp("A", 4), 0)
    splice.outer(answer("A"), L - 1)
    assert said(splice.outer(answer("A"), L)) == ("inner", 4, "hint_sent")


def an_answer_becomes_a_lease(make: Make) -> None:
    splice = make(setup("slave"))
    assert said(splice.inner(answer("SA", 5), 0)) == ("inner", 5, "to_chain")
    assert said(splice.outer(answer("A"), 1)) == ("inner", 5, "to_chain")
    assert splice.counts["answer_taken"] == 1


def an_answer_never_overwrites_a_lease(make: Make) -> None:
    splice = make(setup("slave"))
    splice.inner(tcp("A", 4), 0)
    assert said(splice.inner(answer("A", 3), L - 1)) == ("inner", 5, "to_chain")
    assert splice.counts["answer_late"] == 1
    assert said(splice.inner(answer("A", 3), L)) == ("inner", 3, "to_chain")


def a_forward_tag_overwrites_a_lease(make: Make) -> None:
    splice = make(setup("slave"))
    splice.inner(tcp("A", 4), 0)
    splice.inner(tcp("A", 2), 1)
    assert splice.counts["affinity_mismatch"] == 1
    assert said(splice.outer(answer("A"), 2)) == ("inner", 3, "to_chain")
    splice.inner(tcp("A", 4), 2 + L)
    assert splice.counts["affinity_mismatch"] == 1, "a lapsed lease contradicts nothing"


def a_hint_counts_without_a_pin_only(make: Make) -> None:
    splice = make(setup())
    assert said(splice.inner(answer("A", 4), 0)) == ("inner", 5, "ask_answered")
    assert splice.counts["hint_honoured"] == 1
    assert said(splice.inner(answer("A", 2), 1)) == ("inner", 5, "ask_answered")
    assert splice.counts["hint_refused"] == 1
    assert said(splice.inner(answer("A", 4), 2)) == ("inner", 5, "ask_answered")
    assert splice.counts["hint_refused"] == 1


def a_hint_of_a_closed_chain_is_refused(make: Make) -> None:
    splice = make(setup(slots={**SLOTS, 1: replace(SLOTS[1], state="closed")}))
    assert said(splice.inner(answer("A", 4), 0)) == ("inner", 3, "ask_answered")
    assert splice.counts["hint_refused"] == 1
    cooling = make(setup(slots={**SLOTS, 1: replace(SLOTS[1], state="cooling")}))
    assert said(cooling.inner(answer("A", 4), 0)) == ("inner", 5, "ask_answered")


def no_hint_counts_in_overflow(make: Make) -> None:
    splice = make(setup())
    splice.overflow = True
    assert said(splice.inner(answer("A", 4), 0)) == ("inner", 3, "ask_answered")
    assert splice.counts["hint_ignored"] == splice.counts["placed_in_overflow"] == 1


def a_closed_chain_gives_no_hint(make: Make) -> None:
    splice = make(setup("slave", slots={**SLOTS, 1: replace(SLOTS[1], state="closed")}))
    splice.inner(tcp("A", 4), 0)
    assert said(splice.outer(answer("A"), L)) == ("inner", 4094, "ask_sent")


def a_closed_chain_teaches_nothing(make: Make) -> None:
    splice = make(setup(slots={**SLOTS, 1: replace(SLOTS[1], state="closed")}))
    assert said(splice.inner(answer("SA", 5), 0)) == ("outer", 0, "to_outer")
    assert splice.counts["closed_not_learned"] == 1
    assert said(splice.outer(tcp("A"), 1)) == CHAIN0


def fragments_follow_their_first_one(make: Make) -> None:
    master, slave = make(setup()), make(setup("slave"))
    first = bytes(Ether() / IP(src=A, dst=B, id=7, flags="MF") / UDP(sport=1, dport=2) / bytes(64))
    later = bytes(Ether() / IP(src=A, dst=B, id=7, frag=9, proto=17) / bytes(64))
    assert said(master.outer(later, 0)) == ("", 0, "drop_fragment_unknown")
    assert said(master.outer(first, 1)) == CHAIN0
    assert said(master.outer(later, 2000)) == CHAIN0
    assert master.counts["fragment_hit"] == 1
    assert said(master.outer(later, 2001)) == ("", 0, "drop_fragment_unknown")
    assert said(slave.outer(later, 0)) == ("inner", 4094, "ask_sent")
    assert said(slave.inner(with_tag(first, 5), 1)) == ("inner", 5, "to_chain")
    assert said(slave.outer(later, 2)) == ("inner", 5, "to_chain")
    assert said(slave.inner(with_tag(later, 3), 3)) == ("inner", 3, "to_chain")
    assert said(slave.inner(with_tag(later, 2), 4)) == ("outer", 0, "to_outer")


def a_fragments_note_dies_with_its_chains_generation(make: Make) -> None:
    splice = make(setup(slots={0: SLOTS[0]}))
    later = bytes(Ether() / IP(src=A, dst=B, id=7, frag=9, proto=17) / bytes(64))
    assert said(splice.inner(with_tag(later, 4094), 0)) == ("", 0, "drop_fragment_unknown")


def errors_follow_their_session_and_teach_nothing(make: Make) -> None:
    quoted = IP(src=A, dst=B) / TCP(sport=1000, dport=80)
    error = bytes(Ether() / IP(src="192.0.2.1", dst=A) / ICMP(type=3) / quoted)
    master, slave = make(setup()), make(setup("slave"))
    assert said(master.inner(with_tag(error, 4094), 0)) == ("", 0, "drop_error_unknown")
    assert said(master.inner(with_tag(error, 5), 0)) == ("outer", 0, "to_outer")
    assert said(master.inner(with_tag(error, 4094), 0)) == ("", 0, "drop_error_unknown")
    master.inner(answer("A", 5), 0)
    assert said(master.inner(with_tag(error, 4094), 60000)) == ("inner", 5, "ask_answered")
    assert said(master.outer(tcp("A"), 60000 + L + 2 * D)) == CHAIN0, "it did not refresh the pin"
    assert said(slave.outer(error, 0)) == ("inner", 4094, "ask_sent")
    slave.inner(tcp("A", 4), 0)
    assert said(slave.outer(error, 1)) == ("inner", 5, "to_chain")
    assert said(slave.outer(error, L)) == ("inner", 4094, "ask_sent"), "an error gives no hint"
    assert said(slave.inner(with_tag(error, 3), L)) == ("inner", 3, "to_chain")


def what_is_no_session_takes_the_designated_chain(make: Make) -> None:
    lldp = bytes(Ether(dst="01:80:c2:00:00:0e", type=0x88CC)) + bytes(50)
    assert said(make(setup()).outer(lldp, 0)) == ("inner", 2, "designated")
    assert said(make(setup("slave")).outer(lldp, 0)) == ("inner", 3, "designated")
    assert said(make(setup("slave")).inner(with_tag(lldp, 4), 0)) == ("outer", 0, "designated")
    assert said(make(setup()).inner(with_tag(lldp, 5), 0)) == ("outer", 0, "designated")
    assert said(make(setup()).inner(with_tag(lldp, 4094), 0)) == ("", 0, "drop_malformed")
    assert said(make(setup(designated=None)).outer(lldp, 0)) == ("", 0, "drop_no_chain")


def drops_have_their_reasons(make: Make) -> None:
    empty = make(setup(entries=entries(None), designated=None))
    assert said(empty.outer(tcp("S"), 0)) == ("", 0, "drop_no_chain")
    splice = make(setup())
    assert said(splice.outer(tcp("S", 3), 0)) == ("", 0, "drop_own_tag")
    assert said(splice.outer(tcp("S", 4094), 0)) == ("", 0, "drop_own_tag")
    assert said(splice.inner(tcp("S"), 0)) == ("", 0, "drop_untagged")
    assert said(splice.inner(tcp("S", 99), 0)) == ("", 0, "drop_unknown_tag")
    assert said(splice.inner(tcp("S", 3)[:50], 0)) == ("", 0, "drop_malformed")
    assert said(splice.outer(tcp("S")[:50], 0)) == ("", 0, "drop_malformed")
    slave = make(setup("slave", ask_id=None))
    assert said(slave.outer(answer("A"), 0)) == ("", 0, "drop_not_ready")
    assert said(make(setup("slave")).inner(answer("A", 4094), 0)) == ("", 0, "drop_unknown_tag")


def a_full_table_falls_back_to_the_hash(make: Make) -> None:
    """Rule 7: and stays in overflow from then on."""
    splice = make(setup(capacity=1, policy="p2c"))
    splice.inner(answer("A", 5, 1), 0)
    assert said(splice.outer(tcp("S", port=2), 1)) == CHAIN0
    assert splice.counts["pin_table_full"] == 1
    assert splice.overflow
    assert said(splice.inner(answer("A", 5, 3), 1)) == ("outer", 0, "to_outer")
    assert said(splice.inner(answer("A", 4, 4), 1)) == ("inner", 3, "ask_answered")
    splice.overflow = False
    assert said(splice.inner(answer("A", 4, 4), 1)) == ("inner", 3, "ask_answered")
    assert said(splice.outer(tcp("A", port=1), 2)) == CHAIN1
    slave = make(setup("slave", capacity=1))
    slave.inner(tcp("S", 4, 1), 0)
    assert said(slave.inner(tcp("S", 4, 2), 0)) == ("outer", 0, "to_outer")
    assert slave.counts["pin_table_full"] == 1
    assert not slave.overflow


def a_full_table_refuses_where_it_must(make: Make) -> None:
    splice = make(setup(capacity=1, refuse_full=True))
    splice.inner(answer("A", 5, 1), 0)
    assert said(splice.outer(tcp("S", port=2), 1)) == ("", 0, "drop_table_full")
    splice.overflow = False
    assert said(splice.inner(answer("A", 5, 3), 1)) == ("", 0, "drop_table_full")
    splice.overflow = False
    assert said(splice.inner(answer("A", 4, 4), 1)) == ("", 0, "drop_table_full")
    assert splice.counts["pin_table_full"] == 3
    assert said(splice.outer(tcp("A", port=1), 2)) == CHAIN1


def a_full_table_without_chains_drops(make: Make) -> None:
    splice = make(setup(capacity=1, entries=entries(None)))
    splice.inner(answer("A", 5, 1), 0)
    assert said(splice.inner(answer("A", 4, 2), 1)) == ("", 0, "drop_no_chain")


def two_lanes(first: int | None, second: int | None) -> list[int | None]:
    """Entries of which p2c finds these for the session of `tcp("S")`."""
    placed = entries(2)
    one, two = lanes(key_of(tcp("S")), SIZE)
    placed[one], placed[two] = first, second
    return placed


def p2c_takes_the_less_loaded(make: Make) -> None:
    """The better of the hash's two lanes, by live sessions over weight; the first one where they are even."""
    for load, weight, chain in ((0, 100, 0), (1, 100, 0), (2, 100, 1), (2, 200, 0), (3, 200, 1)):
        slots = {**SLOTS, 0: replace(SLOTS[0], placed=weight)}
        splice = make(setup(policy="p2c", entries=two_lanes(0, 1), slots=slots))
        for port in range(load):
            splice.inner(answer("A", 3, 2000 + port), 0)
        for port in (3000, 3001):
            splice.inner(answer("A", 5, port), 0)
        splice.outer(tcp("R", port=3000), 0)  # it counts no longer
        assert said(splice.outer(tcp("S"), 1))[1] == SLOTS[chain].forward, (load, weight)


def p2c_weighs_no_neighbours(make: Make) -> None:
    """Who asked for whose address is nobody's session: not as it begins, and not in the walk's count."""
    reply = bytes(Ether(dst="02:00:00:00:00:01") / ARP(op=2, psrc=B, pdst=A, hwsrc="02:00:00:00:00:02"))
    for walked in (False, True):
        splice = make(setup(policy="p2c", entries=two_lanes(0, 1)))
        assert said(splice.inner(with_tag(reply, 3), 0)) == ("outer", 0, "to_outer")
        if walked:
            splice.walk(0)
        assert said(splice.outer(tcp("S"), 1)) == CHAIN0, walked


def p2c_weighs_the_next_connection_on_a_key(make: Make) -> None:
    """Its pin is the one before's: with few ports or many sessions a fifth of them begin so."""
    splice = make(setup(policy="p2c", entries=two_lanes(0, 1)))
    splice.inner(answer("A", 3, 2000), 0)
    splice.outer(tcp("R", port=2000), 0)
    splice.outer(tcp("S", port=2000), 1)
    assert said(splice.outer(tcp("S"), 2)) == CHAIN1


def p2c_passes_over_what_is_gone(make: Make) -> None:
    for first, second, chain in ((0, None, 2), (None, 1, 4), (0, 99, 2), (99, 1, 4)):
        splice = make(setup(policy="p2c", entries=two_lanes(first, second)))
        assert said(splice.outer(tcp("S"), 0))[1] == chain


def the_walk_reclaims_and_counts(make: Make) -> None:
    splice = make(setup(capacity=2))
    splice.inner(answer("S", 5, 1), 0)
    splice.inner(answer("A", 5, 2), 0)
    splice.walk(2000 + L + 2 * D)
    splice.outer(tcp("S", port=3), 2000 + L + 2 * D)
    assert splice.counts["pin_table_full"] == 0
    assert said(splice.outer(tcp("A", port=2), 2000 + L + 2 * D)) == CHAIN1


def overflow_evicts_half_open_sessions_that_the_hash_places_alike(make: Make) -> None:
    splice = make(setup(capacity=3))
    splice.outer(tcp("S", port=1), 0)
    splice.outer(tcp("A", port=2), 0)
    splice.inner(answer("S", 5, 3), 0)
    splice.walk(1)
    assert splice.counts["evicted"] == 0
    splice.overflow = splice.roomy = True
    splice.walk(1)
    assert splice.counts["evicted"] == 0, "there is room"
    splice.roomy = False
    splice.walk(1)
    assert splice.counts["evicted"] == 1
    assert said(splice.outer(tcp("A", port=1), 2)) == CHAIN0
    assert said(splice.outer(tcp("A", port=3), 2)) == CHAIN1
    splice = make(setup())
    splice.outer(tcp("S"), 0)
    splice.overflow = True
    splice.walk(2000 + L + 2 * D)
    assert splice.counts["evicted"] == 0, "what has expired needs no eviction"
    slave = make(setup("slave"))
    slave.inner(tcp("S", 2), 0)
    slave.overflow = True
    slave.walk(1)
    assert slave.counts["evicted"] == 0


def neighbours_are_sessions_too(make: Make) -> None:
    splice = make(setup())
    ask = bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=A, pdst=B, hwsrc="02:00:00:00:00:01"))
    reply = bytes(Ether(dst="02:00:00:00:00:01") / ARP(op=2, psrc=B, pdst=A, hwsrc="02:00:00:00:00:02"))
    assert said(splice.outer(ask, 0)) == CHAIN0
    assert said(splice.inner(with_tag(reply, 5), 1)) == ("outer", 0, "to_outer")
    solicit = Ether(dst="33:33:ff:00:00:02") / IPv6(src="fd00::1", dst="ff02::1:ff00:2")
    asked = bytes(solicit / ICMPv6ND_NS(tgt="fd00::2"))
    assert said(splice.outer(asked, 0)) == CHAIN0
    splice.inner(with_tag(asked, 5), 1)
    assert splice.counts["affinity_mismatch"] == 0, "several chains may answer one question"
    slave = make(setup("slave"))
    for tag in (2, 4):
        slave.inner(with_tag(ask, tag), 0)
        slave.inner(with_tag(asked, tag), 0)
    assert slave.counts["affinity_mismatch"] == 0
    advertised = bytes(Ether() / IPv6(src="fd00::2", dst="fd00::1") / ICMPv6ND_NA(tgt="fd00::2"))
    for answered in (reply, advertised):
        assert said(slave.outer(answered, 1)) == ("inner", 5, "to_chain"), "to the chain that asked last"
    assert said(splice.outer(ask, 1 + 1500 + L + 2 * D)) == CHAIN0
    assert splice.counts["session_revived"] == 1


def a_generation_that_is_gone_has_no_pins(make: Make) -> None:
    """A slot that is used again, or free, has nothing to do with what was pinned or noted to it."""
    first = bytes(Ether() / IP(src=B, dst=A, id=7, flags="MF") / UDP(sport=1, dport=2) / bytes(64))
    later = bytes(Ether() / IP(src=B, dst=A, id=7, frag=9, proto=17) / bytes(64))
    for slots in ({**SLOTS, 1: replace(SLOTS[1], generation=2)}, {0: SLOTS[0]}):
        master, slave = make(setup()), make(setup("slave"))
        master.inner(answer("A", 5), 0)
        slave.inner(tcp("A", 4), 0)
        slave.inner(with_tag(first, 5), 0)
        assert said(slave.outer(later, 1)) == ("inner", 5, "to_chain")
        master.configure(setup(slots=slots))
        slave.configure(setup("slave", slots=slots))
        assert said(slave.outer(answer("A"), 2)) == ("inner", 4094, "ask_sent")
        assert said(slave.outer(later, 2)) == ("inner", 4094, "ask_sent")
        assert said(master.outer(tcp("A"), 2)) == CHAIN0
        assert master.counts["session_revived"] == 1


def overflow_goes_by_the_plain_hash_alone(make: Make) -> None:
    splice = make(setup(policy="p2c", entries=two_lanes(0, 1)))
    splice.inner(answer("A", 3, 2000), 0)
    splice.overflow = True
    assert said(splice.outer(tcp("S"), 1)) == CHAIN0
    assert splice.counts["placed_in_overflow"] == 1


def vlans_keep_sessions_apart(make: Make) -> None:
    splice = make(setup())
    frame = Ether() / Dot1Q(vlan=100) / IP(src=B, dst=A) / TCP(sport=80, dport=1000, flags="A")
    splice.inner(with_tag(bytes(frame), 5), 0)
    assert said(splice.outer(tcp("A"), 1)) == CHAIN0
    assert said(splice.outer(tcp("A", 100), 1)) == CHAIN1


def coarse_keys_are_established_and_have_no_tcp_state(make: Make) -> None:
    splice = make(setup(affinity="addresses"))
    splice.inner(answer("SA", 5), 0)
    splice.outer(tcp("R", port=7), 1)
    later = bytes(Ether() / IP(src=A, dst=B, id=7, frag=9, proto=17) / bytes(64))
    assert said(splice.outer(later, 60000)) == CHAIN1
    client = make(setup("slave", affinity="client"))
    client.inner(tcp("S", 4), 0)
    other = bytes(Ether() / IP(src="9.9.9.9", dst=A) / UDP(sport=1, dport=2))
    assert said(client.outer(other, 1)) == ("inner", 5, "to_chain")
