"""The simulator's judge: which packets are one session, and what breaks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from catenary.session import End, SessionKey
from experiments.chaos.judge import Line, Lines
from experiments.chaos.orphans import Orphans
from experiments.chaos.world import TIMEOUTS
from lb_adapter.core.oracle import TCP, UDP
from lb_adapter.core.oracle_pin import ACK, FIN, FROM_CLIENT, FROM_SERVER, RST, SYN, Pin, State, Times
from lb_adapter.core.setup import Order

TIMES = Times.of(TIMEOUTS)
CLIENT, SERVER = End(IPv4Address("10.0.0.1"), 1000), End(IPv4Address("10.0.0.2"), 80)
IDLE, MOVE, RESET = Order("delete", idle=250), Order("move", to=(1, 1)), Order("reset")
ESTABLISHED, CLOSING, UDP_TAU = 900, 200, 300
ORDERED = 101


def line(protocol: int = TCP) -> Line:
    return Line(SessionKey.of(CLIENT, SERVER, protocol), TIMES)


def established() -> Line:
    """A connection whose last packet crossed chain "a" at 20 ms."""
    made = line()
    for now, side, flags in ((0, FROM_CLIENT, SYN), (10, FROM_SERVER, SYN | ACK), (20, FROM_CLIENT, ACK)):
        ticket = made.sent(side, flags, now, fresh=flags == SYN)
        assert not made.entered(ticket, "a", now)
        made.delivered(ticket, FROM_CLIENT + FROM_SERVER - side)
    return made


def test_two_chains_break_a_session_once() -> None:
    made = established()
    ticket = made.sent(FROM_SERVER, ACK, 20 + ESTABLISHED, fresh=False)
    assert made.entered(ticket, "b", 20 + ESTABLISHED)
    assert not made.entered(ticket, "c", 20 + ESTABLISHED), "it is broken already"


def test_rest_ends_a_session() -> None:
    made = established()
    late = 21 + ESTABLISHED
    assert not made.entered(made.sent(FROM_CLIENT, ACK, late, fresh=False), "b", late)
    assert made.sessions == 2


def test_fins_both_ways_or_a_reset_shorten_the_rest() -> None:
    for flags in ((FIN, FIN), (RST, ACK)):
        made = established()
        made.entered(made.sent(FROM_CLIENT, flags[0], 30, fresh=False), "a", 30)
        made.entered(made.sent(FROM_SERVER, flags[1], 40, fresh=False), "a", 40)
        assert made.limit == CLOSING
        late = 41 + CLOSING
        assert not made.entered(made.sent(FROM_CLIENT, ACK, late, fresh=False), "b", late)


def test_coming_out_of_a_chain_is_a_crossing_too() -> None:
    made = line(UDP)
    ticket = made.sent(FROM_CLIENT, 0, 0, fresh=False)
    made.entered(ticket, "a", 0)
    made.left(ticket, 100)
    assert made.entered(made.sent(FROM_SERVER, 0, 100 + UDP_TAU, fresh=False), "b", 100 + UDP_TAU)


def test_a_new_syn_opens_the_next_session_and_what_is_under_way_may_follow_either() -> None:
    made = established()
    under_way = made.sent(FROM_SERVER, ACK, 30, fresh=False)
    syn = made.sent(FROM_CLIENT, SYN, 40, fresh=True)
    assert not made.entered(syn, "b", 40)
    unaware = made.sent(FROM_SERVER, ACK, 45, fresh=False)
    assert not made.entered(under_way, "b", 50), "it was sent before the SYN"
    assert not made.entered(unaware, "a", 50), "its sender has not got the SYN yet"
    made.delivered(syn, FROM_SERVER)
    aware = made.sent(FROM_SERVER, SYN | ACK, 60, fresh=False)
    assert made.entered(aware, "a", 60), "it belongs to the new session, which is in chain b"


def test_both_sides_may_open_one_session() -> None:
    made = line()
    one = made.sent(FROM_CLIENT, SYN, 0, fresh=True)
    other = made.sent(FROM_SERVER, SYN, 1, fresh=False)
    made.entered(one, "a", 0)
    assert made.entered(other, "b", 1)


def test_who_opens_only_after_a_rest_opens_another_session() -> None:
    made = line()
    made.sent(FROM_CLIENT, ACK, 0, fresh=False)
    made.entered(made.sent(FROM_CLIENT, SYN, 0, fresh=True), "a", 0)
    late = TIMES.tau[2] + 1
    assert not made.entered(made.sent(FROM_SERVER, SYN, late, fresh=True), "b", late)


def test_a_servers_reset_just_before_a_syn_may_count_for_the_next_session() -> None:
    for quiet, limit in ((400, CLOSING), (401, TIMES.tau[2])):
        made = established()
        made.entered(made.sent(FROM_SERVER, RST, 30, fresh=False), "a", 30)
        made.sent(FROM_CLIENT, SYN, 30 + quiet, fresh=True)
        assert made.limit == limit


def test_what_is_let_go_may_change_its_chain_and_what_the_master_kept_may_not() -> None:
    for let_go in (True, False):
        lines = Lines(TIMES)
        made = lines.add(SessionKey.of(CLIENT, SERVER, UDP))
        made.entered(made.sent(FROM_CLIENT, 0, 0, fresh=False), "a", 0)
        lines.swept("master", IDLE, {made.key.pack() if let_go else b"another": "a"}, 200)
        assert made.entered(made.sent(FROM_CLIENT, 0, 250, fresh=False), "b", 250) is not let_go
        assert made.entered(made.sent(FROM_CLIENT, 0, 260, fresh=False), "c", 260) is let_go, "once only"


def test_what_may_be_in_a_chain_can_not_be_let_go() -> None:
    lines = Lines(TIMES)
    made = lines.add(SessionKey.of(CLIENT, SERVER, UDP))
    made.entered(made.sent(FROM_CLIENT, 0, 0, fresh=False), "a", 0)
    lines.swept("master", IDLE, {made.key.pack(): "a"}, TIMES.transit)
    assert made.entered(made.sent(FROM_CLIENT, 0, 150, fresh=False), "b", 150)


def test_a_rest_keeps_the_begin_of_a_connection_and_a_new_one_or_an_order_does_not() -> None:
    made = established()
    late = 21 + ESTABLISHED
    made.entered(made.sent(FROM_CLIENT, ACK, late, fresh=False), "b", late)
    assert made.session.begun == 0
    made.let_go(late + 200)
    made.entered(made.sent(FROM_CLIENT, ACK, late + 300, fresh=False), "c", late + 300)
    assert made.session.begun == late + 300
    made.entered(made.sent(FROM_CLIENT, SYN, late + 400, fresh=True), "c", late + 400)
    assert made.session.begun == late + 400


def crossed(made: Line, chain: str, now: int, sent: int | None = None) -> bool:
    """Does a packet that goes into a chain break the session?"""
    return made.entered(made.sent(FROM_CLIENT, ACK, now if sent is None else sent, fresh=False), chain, now)


def ordered(role: str, order: Order) -> Line:
    """An established connection in chain "a", after an order."""
    lines, made = Lines(TIMES), established()
    lines.take(made)
    lines.swept(role, order, {made.key.pack(): "a"}, ORDERED)
    return made


def test_a_moved_session_changes_its_chain_once_and_leaves_the_old_one_in_time() -> None:
    late = ORDERED + TIMES.lease + 2 * TIMES.transit
    made = ordered("master", MOVE)
    assert not crossed(made, "b", 110)
    assert not crossed(made, "a", late), "it was under way"
    assert crossed(made, "a", late + 1)
    assert crossed(ordered("slave", MOVE), "b", 110), "the slave's part moves nothing"
    made = ordered("master", MOVE)
    assert not crossed(made, "b", 110)
    assert crossed(made, "c", 120)


def test_what_belongs_to_the_connection_before_a_moved_one_is_excused_alike() -> None:
    made = established()
    old = made.sent(FROM_SERVER, ACK, 30, fresh=False)
    made.entered(made.sent(FROM_CLIENT, SYN, 40, fresh=True), "a", 40)
    made.moved("a", 50, closed=False)
    assert not made.entered(old, "b", 60)


def test_the_next_connection_is_late_in_the_chain_that_a_moved_one_left_for_as_long() -> None:
    made = established()
    made.moved("a", 50, closed=False)
    made.entered(made.sent(FROM_CLIENT, SYN, 60, fresh=True), "b", 60)
    late = 50 + TIMES.lease + 2 * TIMES.transit
    assert not crossed(made, "a", late)
    assert crossed(made, "a", late + 1)


def test_a_reset_session_may_go_into_no_other_chain() -> None:
    for role in ("master", "slave"):
        made = ordered(role, RESET)
        assert made.session.ended
        assert not crossed(made, "a", 110)
        assert crossed(made, "b", 120)
        syn = made.sent(FROM_CLIENT, SYN, 130, fresh=True)
        assert not made.entered(syn, "c", 130), "the next connection is another session"
        assert not made.session.ended
        assert crossed(made, "a", 131)


def test_an_order_finds_a_session_in_the_chain_of_its_pin() -> None:
    made = line()
    syn = made.sent(FROM_SERVER, SYN, 0, fresh=True)
    made.moved("a", 10, closed=False)
    assert not made.entered(syn, "a", 20), "it was placed before, and under way"
    assert not crossed(made, "b", 30)
    assert crossed(made, "c", 40)


def test_a_syn_of_a_reset_session_opens_the_next_one() -> None:
    made = line()
    under_way, again = (made.sent(FROM_SERVER, SYN, at, fresh=not at) for at in (0, 5))
    made.reset("a", 10)
    assert not made.entered(under_way, "a", 20)
    assert not made.entered(again, "b", 30), "it met the tombstone, and was placed anew"
    assert crossed(made, "c", 40), "the next connection is in chain b"


def test_a_reset_that_overtakes_a_syn_ends_the_connection_before() -> None:
    """What is late of that one goes where the SYN goes, which met the tombstone of a closed chain."""
    made = established()
    late = made.sent(FROM_SERVER, ACK, 30, fresh=False)
    syn = made.sent(FROM_SERVER, SYN, 40, fresh=True)
    made.reset("a", 50)
    assert not made.entered(late, "b", 60)
    assert not made.entered(syn, "b", 70)


def test_a_tombstone_that_overflow_takes_back_lets_its_session_be_placed_once() -> None:
    made = ordered("master", RESET)
    made.forgotten("master", 110)
    assert not crossed(made, "b", 120)
    assert crossed(made, "c", 130)


def test_the_masters_tombstone_answers_in_the_old_chain_when_the_slaves_is_taken_back() -> None:
    made = ordered("master", RESET)
    made.forgotten("slave", 110)
    assert not crossed(made, "a", 120)
    made.forgotten("master", 130)
    assert not crossed(made, "b", 140)
    assert crossed(made, "c", 150)


def test_a_reset_session_rests_from_its_order_on() -> None:
    made = line()
    made.sent(FROM_SERVER, ACK, 0, fresh=False)
    made.reset("a", 10)
    late = 11 + made.limit
    assert not crossed(made, "b", late)
    assert made.session.ended, "whoever still sends on this connection may be dropped"


def test_a_rest_does_not_end_what_is_under_way_in_the_chain_that_was_left() -> None:
    made = line(UDP)
    made.entered(made.sent(FROM_CLIENT, 0, 0, fresh=False), "a", 0)
    made.moved("a", UDP_TAU, closed=False)
    assert not made.entered(made.sent(FROM_SERVER, 0, UDP_TAU + 1, fresh=False), "a", UDP_TAU + 1)
    assert not made.entered(made.sent(FROM_CLIENT, 0, UDP_TAU + 2, fresh=False), "b", UDP_TAU + 2)


def test_the_answer_to_a_syn_that_was_placed_anew_may_be_there_first() -> None:
    for sent_again, breaks in ((True, False), (False, True)):
        made = established()
        made.reset("a", 200)
        if sent_again:
            made.sent(FROM_SERVER, SYN, 210, fresh=False)
        assert crossed(made, "b", 220) is breaks


def test_an_ask_of_a_reset_connection_may_be_overtaken_by_the_next_ones_syn() -> None:
    made = ordered("master", RESET)
    late = made.sent(FROM_SERVER, ACK, 110, fresh=False)
    syn = made.sent(FROM_SERVER, SYN, 111, fresh=True)
    assert not made.entered(late, "b", 120), "the master met the SYN first"
    assert not made.entered(syn, "b", 125)
    assert crossed(made, "c", 130)
    made = ordered("master", RESET)
    late = made.sent(FROM_SERVER, ACK, 110, fresh=False)
    syn = made.sent(FROM_SERVER, SYN, 111, fresh=True)
    made.entered(late, "b", 120)
    assert made.entered(syn, "c", 125), "then both go into one chain"


def test_an_ask_of_a_reset_connection_may_be_late_in_a_chain_that_the_next_one_was_moved_from() -> None:
    made = ordered("master", RESET)
    late = made.sent(FROM_SERVER, ACK, 110, fresh=False)
    made.entered(made.sent(FROM_CLIENT, SYN, 111, fresh=True), "b", 111)
    made.moved("b", 120, closed=False)
    assert not made.entered(late, "b", 130), "it was under way, and says nothing of the next connection"
    assert not crossed(made, "c", 140)
    assert crossed(made, "d", 150)


def test_what_a_master_answered_before_it_lost_its_table_may_be_an_orphan() -> None:
    orphans = Orphans(transit=100)
    orphans.lose(Lost(overflow=True), 1000)  # type: ignore[arg-type]
    assert orphans.has(b"key", 1100)
    assert not orphans.has(b"key", 1101)
    assert not orphans.has(b"pinned", 1000)


@dataclass
class Lost:
    """A splice at its end."""

    overflow: bool
    pins: dict[bytes, Pin] = field(default_factory=lambda: {b"pinned": Pin(0, 1, State.OPENING, 0)})
