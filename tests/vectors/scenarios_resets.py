"""Sessions that an order ends: tombstones, the RST that answers for them, and moves."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from lb_adapter.core.oracle_pin import State
from lb_adapter.core.setup import Order, Slot, Verdict
from tests.vectors.acting import (
    CHAIN0,
    CHAIN1,
    SLOTS,
    TIMES,
    A,
    AnySplice,
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
    to_client,
    to_server,
)

RESET = Order("reset")
TO_CLIENT = ("outer", 0, "session_reset")
INTO_CHAIN0 = ("inner", 2, "session_reset")
UNANSWERED = ("", 0, "drop_reset")
LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
HELD = TIMES.tau[State.ESTABLISHED] + L + 2 * D


def _opened(make: Make, role: str = "master", **fields: object) -> AnySplice:
    """A splice with one session, established on chain 0."""
    splice = make(setup(role, **fields))
    if role == "slave":
        splice.inner(tcp("A", 2), 0)
        return splice
    splice.outer(tcp("S"), 0)
    splice.inner(answer("SA", 3), 0)
    splice.outer(tcp("A"), 0)
    return splice


def the_client_is_told_at_its_next_packet(make: Make) -> None:
    splice = _opened(make)
    assert splice.sweep(RESET, 10) == (1, 0)
    frame = to_server(TCP(sport=1000, dport=80, flags="PA", seq=7, ack=9000) / Raw(b"hello"))
    outcome = splice.outer(frame, 20)
    assert said(outcome) == TO_CLIENT
    rst = Ether(outcome[1])
    assert (rst.src, rst.dst, rst[IP].src, rst[IP].dst) == ("02:00:00:00:00:02", "02:00:00:00:00:01", B, A)
    assert (rst[TCP].sport, rst[TCP].dport, rst[TCP].flags, rst[TCP].seq) == (80, 1000, "R", 9000)
    assert len(outcome[1]) == 54
    assert splice.counts["ordered_reset"] == 1


def the_checksums_of_the_answer_are_right(make: Make) -> None:
    frames: list[Packet] = [
        LINK / IP(src=A, dst=B) / TCP(sport=1000, dport=80, flags="A", ack=77),
        LINK / IP(src=A, dst=B, options=[b"\x01" * 8]) / TCP(dport=80, flags="", seq=(1 << 32) - 1),
        LINK / Dot1Q(vlan=9) / IP(src=A, dst=B) / TCP(dport=80, flags="FPU", seq=5) / Raw(b"odd"),
        LINK / Dot1Q(vlan=9) / Dot1Q(vlan=8) / IPv6(src="fd00::1", dst="fd00::2") / TCP(flags="SA", ack=3),
        LINK / IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrDestOpt() / TCP(flags="A", ack=1),
    ]
    for frame in frames:
        splice = make(setup())
        splice.outer(bytes(frame), 0)
        splice.sweep(RESET, 1)
        verdict, sent = splice.outer(bytes(frame), 2)
        assert verdict.reason == "session_reset"
        rst = Ether(sent)
        again = rst.copy()
        for layer in (again.getlayer(IP), again[TCP]):
            if layer is not None:
                layer.chksum = None
        assert bytes(Ether(bytes(again))) == sent, frame.summary()
        assert sent[12:14] == bytes(frame)[12:14], "the tags stay"


def without_an_ack_the_answer_acknowledges_all(make: Make) -> None:
    splice = make(setup())
    frame = to_server(TCP(sport=1000, dport=80, flags="F", seq=(1 << 32) - 2) / Raw(b"abc"))
    splice.outer(frame, 0)
    splice.sweep(RESET, 1)
    _, sent = splice.outer(frame, 2)
    rst = Ether(sent)[TCP]
    assert (rst.flags, rst.seq, rst.ack) == ("RA", 0, 2), "3 bytes and the FIN, over the end of the numbers"


def the_server_is_told_at_the_slave(make: Make) -> None:
    splice = _opened(make, "slave")
    assert splice.sweep(RESET, 10) == (1, 0)
    assert said(splice.outer(answer("A"), 20)) == TO_CLIENT
    assert said(splice.outer(answer("R"), 20)) == UNANSWERED
    assert said(splice.outer(answer("A"), 20 + L)) == TO_CLIENT, "not only for as long as a lease"


def what_the_master_gets_of_the_server_is_answered_through_the_chain(make: Make) -> None:
    splice = _opened(make)
    splice.sweep(RESET, 10)
    outcome = splice.inner(answer("A", 3), 20)
    assert said(outcome) == INTO_CHAIN0
    assert (Ether(outcome[1])[TCP].flags, Ether(outcome[1])[IP].src) == ("R", A)
    assert said(splice.inner(answer("A", 4094), 20)) == INTO_CHAIN0, "an ask of a slave that lost its table"
    assert said(splice.inner(answer("A", 4), 20)) == INTO_CHAIN0, "whatever the hint"
    assert splice.counts["hint_refused"] == 1
    assert said(splice.inner(answer("RA", 3), 20)) == UNANSWERED
    assert said(splice.inner(answer("RA", 4094), 20)) == UNANSWERED
    splice.configure(setup(slots={1: SLOTS[1]}, entries=entries(1), designated=1))
    assert said(splice.inner(answer("A", 4094), 30)) == UNANSWERED, (
        "its chain is gone: another is not its way"
    )
    assert said(splice.inner(answer("A", 5), 30)) == ("inner", 4, "session_reset")


def another_generation_is_another_chain(make: Make) -> None:
    splice = _opened(make)
    splice.sweep(RESET, 10)
    splice.configure(setup(slots={**SLOTS, 0: replace(SLOTS[0], generation=2)}))
    assert said(splice.inner(answer("A", 4094), 20)) == UNANSWERED
    assert said(splice.outer(tcp("A"), 20)) == TO_CLIENT, "a tombstone belongs to no chain"


def a_syn_begins_the_next_connection(make: Make) -> None:
    splice = _opened(make)
    splice.sweep(RESET, 10)
    splice.configure(setup(entries=entries(1)))
    assert said(splice.outer(tcp("R"), 20)) == UNANSWERED
    assert said(splice.outer(tcp("SR"), 20)) == UNANSWERED
    assert said(splice.outer(tcp("S"), 21 + 2 * D)) == CHAIN1, "placed anew"
    assert said(splice.outer(tcp("A"), 22 + 2 * D)) == CHAIN1


def a_syn_soon_after_a_reset_stays_in_the_chain(make: Make) -> None:
    """An ask may have been answered before the master was told: the server follows that answer."""
    soon = 10 + 2 * D
    for where in ("outer", "ask", "chain"):
        splice = _opened(make)
        splice.sweep(RESET, 10)
        splice.configure(setup(entries=entries(1)))
        if where == "chain":
            splice.inner(answer("S", 5), soon)
            assert said(splice.outer(tcp("SA"), soon)) == CHAIN1, "it has crossed that chain"
            continue
        if where == "outer":
            assert said(splice.outer(tcp("S"), soon)) == CHAIN0
        else:
            assert said(splice.inner(answer("S", 4094), soon)) == ("inner", 3, "ask_answered")
        assert said(splice.outer(tcp("SA"), soon)) == CHAIN0
        assert splice.counts["session_placed"] == 2


def a_syn_soon_after_a_reset_leaves_a_chain_that_is_no_more(make: Make) -> None:
    for changed in (replace(SLOTS[0], state="closed"), replace(SLOTS[0], generation=2), None):
        splice = _opened(make)
        splice.sweep(RESET, 10)
        slots = {1: SLOTS[1]} if changed is None else {**SLOTS, 0: changed}
        splice.configure(setup(slots=slots, entries=entries(1), designated=1))
        assert said(splice.outer(tcp("S"), 11)) == CHAIN1


def the_servers_syn_asks_and_is_placed(make: Make) -> None:
    master, slave = _opened(make), _opened(make, "slave")
    for splice in (master, slave):
        splice.sweep(RESET, 10)
    master.configure(setup(entries=entries(1)))
    later = 11 + 2 * D
    assert said(slave.outer(answer("S"), later)) == ("inner", 4094, "ask_sent")
    assert said(master.inner(answer("S", 4094), later)) == ("inner", 5, "ask_answered")
    assert said(slave.inner(answer("S", 5), later)) == ("inner", 5, "to_chain")
    assert said(slave.outer(answer("A"), later)) == ("inner", 5, "to_chain"), "the answer became the lease"


def what_is_still_under_way_teaches_the_slave_nothing(make: Make) -> None:
    slave = _opened(make, "slave")
    slave.sweep(RESET, 10)
    assert said(slave.inner(tcp("A", 2), 11)) == ("outer", 0, "to_outer")
    assert said(slave.inner(answer("A", 5), 11)) == ("inner", 5, "to_chain")
    assert said(slave.outer(answer("A"), 12)) == TO_CLIENT
    slave.inner(tcp("S", 4), 13)
    assert said(slave.outer(answer("SA"), 14)) == ("inner", 5, "to_chain")
    assert slave.counts["affinity_mismatch"] == 0


def a_rst_for_the_connection_before_takes_no_lease(make: Make) -> None:
    """The master answers an old ask through the chain that was; the client's next SYN was faster."""
    slave = make(setup("slave"))
    slave.inner(tcp("S", 4), 10)
    assert said(slave.inner(tcp("R", 2), 20)) == ("outer", 0, "to_outer")
    assert said(slave.outer(answer("SA"), 30)) == ("inner", 5, "to_chain")
    assert slave.counts["affinity_mismatch"] == 0
    slave.inner(tcp("R", 2), 20 + L)
    assert said(slave.outer(answer("A"), 30 + L)) == ("inner", 4, "hint_sent"), "nor against a hint"
    slave = make(setup("slave"))
    slave.inner(tcp("R", 2), 0)
    assert said(slave.outer(answer("A"), 1)) == ("inner", 4094, "ask_sent"), "nor where nothing is known"
    slave.inner(tcp("S", 4), 10)
    slave.inner(tcp("R", 4), 20)
    assert said(slave.outer(answer("A"), 30 + TIMES.tau[State.CLOSING] + L + 4 * D))[2] == "ask_sent"


def a_slave_without_a_master_asks_nobody_about_a_syn(make: Make) -> None:
    slave = _opened(make, "slave", ask_id=None)
    slave.sweep(RESET, 10)
    assert said(slave.outer(answer("S"), 11)) == ("", 0, "drop_not_ready")


def a_tombstone_lives_as_long_as_an_established_session(make: Make) -> None:
    splice = _opened(make)
    splice.sweep(RESET, 10)
    assert said(splice.outer(tcp("A"), HELD + 9)) == TO_CLIENT
    splice.walk(HELD + 10)
    assert said(splice.outer(tcp("A"), 2 * HELD + 8)) == TO_CLIENT, "since its last packet"
    splice.walk(3 * HELD + 8)
    assert said(splice.outer(tcp("A"), 3 * HELD + 8)) == CHAIN0


def tombstones_make_room_by_order(make: Make) -> None:
    """They count as nothing that was taken away from the living: overflow would begin its wait anew."""
    for role, told in (("master", TO_CLIENT), ("slave", TO_CLIENT)):
        splice = _opened(make, role)
        frame = tcp("A") if role == "master" else answer("A")
        splice.sweep(RESET, 10)
        splice.overflow = role == "master"
        splice.walk(11)
        assert said(splice.outer(frame, 12)) == told, "no eviction"
        splice.overflow = False
        assert splice.sweep(Order("forget"), 13) == (0, 0)
        assert said(splice.outer(frame, 14)) != told
        assert splice.counts["evicted"] == splice.counts["ordered_move"] == 0
        splice.sweep(Order("forget"), 15)
        assert said(splice.outer(frame, 16))[2] != "drop_dead_pin"
    assert said(splice.outer(answer("A"), 17))[2] == "ask_sent"


def a_closed_chain_teaches_no_lease(make: Make) -> None:
    """What is under way when a chain is closed and let go would bring the server's side back to it."""
    closed = setup("slave", slots={**SLOTS, 0: replace(SLOTS[0], state="closed")})
    slave = _opened(make, "slave")
    slave.configure(closed)
    slave.sweep(Order("delete", (0, 1)), 10)
    assert said(slave.inner(tcp("A", 2), 11)) == ("outer", 0, "to_outer")
    assert said(slave.inner(answer("A", 3), 12)) == ("inner", 3, "to_chain"), "what the master says is obeyed"
    assert said(slave.outer(answer("A"), 13)) == ("inner", 4094, "ask_sent")
    assert slave.counts["closed_not_learned"] == 2
    slave.inner(tcp("A", 4), 14)
    assert said(slave.inner(answer("A", 3), 15)) == ("inner", 5, "to_chain"), "but never against a lease"
    slave.inner(tcp("A", 2), 16)
    assert slave.counts["affinity_mismatch"] == 1
    assert said(slave.outer(answer("A"), 17)) == ("inner", 5, "to_chain")


def a_half_closed_session_is_as_idle_at_the_slave(make: Make) -> None:
    """The client's FIN was its last packet: what the master lets go must leave no hint."""
    master, slave = _opened(make), _opened(make, "slave")
    for splice in (master, slave):
        splice.outer(tcp("FA"), 10) if splice is master else splice.inner(tcp("FA", 2), 10)
        assert splice.sweep(Order("delete", idle=100), 109) == (0, 0)
        assert splice.sweep(Order("delete", idle=100), 110) == (0, 1)


def a_half_closed_session_is_not_closing_at_the_slave(make: Make) -> None:
    """It may rest, and a master that lost its table learns it from here."""
    slave = _opened(make, "slave")
    slave.inner(tcp("FA", 2), 10)
    assert said(slave.outer(answer("A"), HELD + 9)) == ("inner", 2, "hint_sent")
    slave = _opened(make, "slave")
    slave.inner(tcp("FA", 2), 10)
    slave.outer(answer("FA"), 11)
    slave.inner(tcp("A", 2), 12)
    assert said(slave.outer(answer("A"), 12 + TIMES.tau[State.CLOSING] + L + 4 * D))[2] == "ask_sent"
    slave = _opened(make, "slave")
    slave.inner(answer("FA", 3), 10 + L)
    slave.inner(tcp("FA", 2), 11 + L)
    assert said(slave.outer(answer("A"), 11 + L + TIMES.tau[State.CLOSING] + L + 4 * D))[2] == "ask_sent"
    slave = make(setup("slave"))
    slave.inner(tcp("S", 2), 0)
    slave.outer(answer("FA"), 1)
    slave.inner(tcp("FA", 2), 2)
    assert said(slave.outer(answer("A"), HELD + 1)) == ("inner", 2, "hint_sent"), "the last session's FIN"


def errors_and_fragments_are_not_answered(make: Make) -> None:
    quoted = ICMP(type=3, code=4) / IPerror(src=A, dst=B) / TCPerror(sport=1000, dport=80)
    reply = ICMP(type=3, code=4) / IPerror(src=B, dst=A) / TCPerror(sport=80, dport=1000)
    first = bytes(LINK / IP(src=A, dst=B, flags="MF", id=9) / TCP(sport=1000, dport=80, flags="A"))
    master, slave = _opened(make), _opened(make, "slave")
    for splice in (master, slave):
        splice.sweep(RESET, 10)
    assert said(master.outer(to_server(reply), 11)) == UNANSWERED
    assert said(master.inner(to_client(quoted, 4094), 11)) == UNANSWERED
    assert said(master.outer(first, 11)) == UNANSWERED
    assert said(slave.outer(to_client(quoted), 11)) == UNANSWERED


def only_tcp_can_be_told(make: Make) -> None:
    splice = make(setup())
    splice.outer(to_server(UDP(sport=5, dport=6)), 0)
    splice.outer(tcp("S"), 0)
    assert splice.sweep(RESET, 1) == (1, 1)
    splice.configure(setup(entries=entries(1)))
    assert said(splice.outer(to_server(UDP(sport=5, dport=6)), 2)) == CHAIN1, "placed anew"
    assert splice.counts["ordered_move"] == 1
    coarse = make(setup(affinity="addresses"))
    coarse.outer(tcp("S"), 0)
    assert coarse.sweep(RESET, 1) == (0, 1)


def an_order_means_one_chain(make: Make) -> None:
    splice = _opened(make)
    splice.configure(setup(entries=entries(1)))
    splice.outer(tcp("S", port=2000), 0)
    assert splice.sweep(Order("reset", (0, 2)), 1) == (0, 0), "of that generation"
    assert splice.sweep(Order("reset", (1, 1)), 1) == (1, 0)
    assert splice.sweep(Order("reset", (1, 1)), 1) == (0, 0), "once"
    assert said(splice.outer(tcp("A"), 2)) == CHAIN0
    assert said(splice.outer(tcp("A", port=2000), 2)) == TO_CLIENT


def an_order_means_one_session(make: Make) -> None:
    splice = _opened(make)
    splice.outer(tcp("S", port=2000), 0)
    assert splice.sweep(Order("reset", key=key_of(tcp("S", port=2000))), 1) == (1, 0)
    assert splice.sweep(Order("move", key=key_of(tcp("S")), to=(1, 1)), 1) == (0, 1)
    assert splice.sweep(Order("move", key=key_of(tcp("S")), to=(1, 1)), 1) == (0, 0), "it is there"
    assert said(splice.outer(tcp("A"), 2)) == CHAIN1
    assert splice.counts["session_placed"] == 2, "not placed: moved"


def an_order_means_what_is_idle(make: Make) -> None:
    order = Order("delete", idle=500)
    splice = _opened(make)
    splice.configure(setup(entries=entries(1)))
    assert splice.sweep(order, 499) == (0, 0)
    splice.outer(tcp("A"), 499)
    assert splice.sweep(order, 998) == (0, 0)
    assert splice.sweep(order, 999) == (0, 1)
    assert said(splice.outer(tcp("A"), 1000)) == CHAIN1
    # Packets up to 2 D after a session closed leave no trace in its pin.
    splice.outer(tcp("R"), 1001)
    splice.outer(tcp("A"), 1001 + 2 * D)
    assert splice.sweep(order, 1001 + 500) == (0, 0)
    assert splice.sweep(order, 1001 + 500 + 2 * D) == (0, 1)


def what_is_expired_is_nobodys(make: Make) -> None:
    splice = make(setup())
    splice.outer(tcp("S"), 0)
    assert splice.sweep(RESET, TIMES.tau[State.OPENING] + L + 2 * D) == (0, 0)


def an_expired_tombstone_goes_with_the_walk(make: Make) -> None:
    master, slave = _opened(make), _opened(make, "slave")
    for splice in (master, slave):
        splice.sweep(RESET, 10)
        splice.walk(HELD + 10)
    assert said(master.outer(tcp("A"), HELD + 10)) == CHAIN0
    assert said(slave.outer(answer("A"), HELD + 10)) == ("inner", 4094, "ask_sent")


def sides_of_many_endpoints_answer_too(make: Make) -> None:
    plain = {0: Slot(0, 0), 1: Slot(0, 0)}
    splice = make(setup(slots=plain, outers=3, ask_id=None))
    splice.outer(tcp("S"), 0, endpoint=2)
    splice.sweep(RESET, 1)
    assert splice.outer(tcp("A"), 2, endpoint=1)[0] == Verdict("outer", 0, "session_reset", outer=1)
    assert splice.inner(answer("A"), 2, slot=1)[0] == Verdict("inner", 0, "session_reset")
    quoted = ICMP(type=3, code=4) / IPerror(src=A, dst=B) / TCPerror(sport=1000, dport=80)
    assert said(splice.inner(to_client(quoted), 2, slot=1)) == UNANSWERED


def a_slaves_closing_lease_is_idle_by_its_last_packet(make: Make) -> None:
    """A lease tells of each packet; a master's closing pin hides those of 2 D."""
    for role, frame in (("slave", tcp("R", 2)), ("master", tcp("R"))):
        for wait, ended in ((500, role == "slave"), (500 + 2 * D, True)):
            splice = make(setup(role))
            if role == "slave":
                splice.inner(tcp("A", 2), 0)
                splice.inner(frame, 0)
            else:
                splice.outer(frame, 0)
            assert splice.sweep(Order("reset", idle=500), wait) == (ended, 0)
