"""How long a pin lives, and what closes it: affinity rules 1 and 5, spelled out.

A scenario takes `make`, which makes a splice of a `Setup`: the oracle and the C core must both pass it.
"""

from __future__ import annotations

from dataclasses import replace

from lb_adapter.core.oracle_pin import State
from tests.vectors.acting import (
    CHAIN0,
    CHAIN1,
    SLOTS,
    TIMES,
    AnySplice,
    D,
    L,
    Make,
    answer,
    said,
    setup,
    tcp,
)


def both_directions_keep_the_masters_pin(make: Make) -> None:
    splice = make(setup())
    splice.inner(answer("A", 5), 0)
    splice.outer(tcp("A"), 60000)
    splice.inner(answer("A", 5), 120000)
    last = 120000 + 60000 + L + 2 * D
    assert said(splice.outer(tcp("A"), last - 1)) == CHAIN1
    assert said(splice.outer(tcp("A"), last - 1 + 60000 + L + 2 * D)) == CHAIN0
    assert splice.counts["session_revived"] == 1


def an_ask_keeps_the_masters_pin(make: Make) -> None:
    splice = make(setup())
    splice.inner(answer("A", 5), 0)
    splice.inner(answer("A", 4094), 60000)
    assert said(splice.outer(tcp("A"), 120000)) == CHAIN1


def _established(splice: AnySplice) -> None:
    splice.inner(answer("A", 5), 0)
    splice.outer(tcp("A"), 1)


LATE = TIMES.tau[State.CLOSING] + L + 4 * D  # how long a closing pin lives


def fin_both_ways_closes(make: Make) -> None:
    splice = make(setup())
    _established(splice)
    splice.outer(tcp("FA"), 10)
    splice.inner(answer("A", 5), 20)
    assert said(splice.outer(tcp("A"), 20 + 2 * LATE)) == CHAIN1, "one FIN closes nothing"
    splice.inner(answer("FA", 5), 10000)
    assert said(splice.outer(tcp("A"), 10000 + LATE)) == CHAIN0, "the pin has expired"


def two_fins_of_one_side_close_nothing(make: Make) -> None:
    splice = make(setup())
    _established(splice)
    splice.outer(tcp("FA"), 10)
    splice.outer(tcp("FA"), 20)
    assert said(splice.outer(tcp("A"), 20 + LATE)) == CHAIN1


def a_reset_closes_and_a_late_packet_reopens(make: Make) -> None:
    """A forged RST cuts nothing; a second one, or an early packet, shows nothing."""
    for late, wait, chain in (("A", 2 * D + 1, CHAIN1), ("A", 2 * D, CHAIN0), ("R", 2 * D + 1, CHAIN0)):
        splice = make(setup())
        _established(splice)
        splice.inner(answer("R", 5), 100)
        assert said(splice.outer(tcp(late), 100 + wait)) == CHAIN1
        assert said(splice.outer(tcp("A"), 100 + wait + LATE)) == chain, (late, wait)


def a_fin_sent_again_reopens_nothing(make: Make) -> None:
    """Nor does the ACK that answers it; but the pin outlives the lease that it may have renewed."""
    for late, seen, chain in (("FA", 0, CHAIN0), ("A", 0, CHAIN0), ("A", -1, CHAIN1)):
        splice = make(setup())
        _established(splice)
        splice.outer(tcp("FA"), 10)
        splice.inner(answer("FA", 5), 20)
        splice.inner(answer(late, 5), 20 + 3 * D)
        assert said(splice.outer(tcp("A"), 20 + 3 * D + LATE + seen)) == chain


def a_fin_of_the_other_side_after_a_reset_is_life(make: Make) -> None:
    splice = make(setup())
    _established(splice)
    splice.outer(tcp("FA"), 10)
    splice.inner(answer("R", 5), 100)
    splice.inner(answer("FA", 5), 100 + 3 * D)
    assert said(splice.outer(tcp("A"), 100 + 3 * D + LATE)) == CHAIN1


def two_late_copies_of_a_syn_cut_no_life_short(make: Make) -> None:
    splice = make(setup())
    _established(splice)
    splice.outer(tcp("S"), 10)
    splice.outer(tcp("S"), 20)
    assert said(splice.outer(tcp("A"), 20 + TIMES.life[State.OPENING])) == CHAIN1


def a_fin_after_a_forged_reset_is_life(make: Make) -> None:
    splice = make(setup())
    _established(splice)
    splice.inner(answer("R", 5), 100)
    splice.outer(tcp("FA"), 100 + 3 * D)
    assert said(splice.inner(answer("A", 5), 100 + LATE))[0] == "outer"
    splice.inner(answer("FA", 5), 200 + LATE)
    assert said(splice.outer(tcp("A"), 200 + 2 * LATE)) == CHAIN0, "the FIN had been marked"


def a_syn_clears_the_last_sessions_marks(make: Make) -> None:
    """Rule 5, property 8: a FIN or RST of session n never shortens session n+1."""
    for stale in ("FA", "RA", "A"):
        splice = make(setup())
        _established(splice)
        splice.outer(tcp("FA"), 10)
        splice.inner(answer("FA", 5), 20)
        splice.outer(tcp("S"), 30)
        splice.inner(answer(stale, 5), 40)
        splice.inner(answer("SA", 5), 50)
        splice.outer(tcp("A"), 60)
        splice.outer(tcp("FA"), 70)
        assert said(splice.inner(answer("A", 5), 70 + 20000))[0] == "outer"
        assert said(splice.outer(tcp("A"), 70 + 20001)) == CHAIN1, stale


def a_refused_connection_ends_by_the_opening_timeout(make: Make) -> None:
    splice = make(setup())
    splice.inner(answer("S", 5), 0)
    splice.inner(answer("RA", 5), 1)
    assert said(splice.outer(tcp("S"), 1 + LATE)) == CHAIN1
    assert said(splice.outer(tcp("S"), 1 + LATE + 2000 + L + 2 * D)) == CHAIN0


def a_closing_pin_lives_on_after_a_packet_that_left_no_trace(make: Make) -> None:
    """T counts from the last packet, also within 2 D after closing began, where the word stays as it is."""
    splice = make(setup())
    _established(splice)
    splice.outer(tcp("R"), 100)
    splice.outer(tcp("A"), 100 + 2 * D)
    last = 100 + 2 * D + TIMES.tau[State.CLOSING] + L + 2 * D
    assert said(splice.outer(tcp("FA"), last - 1)) == CHAIN1


def a_syn_takes_nothing_from_an_established_pins_life(make: Make) -> None:
    """Neither a late copy of the session's own SYN nor a forged one; the server is not heard until an ACK."""
    for syn in (lambda splice: splice.outer(tcp("S"), 100), lambda splice: splice.inner(answer("S", 5), 100)):
        splice = make(setup())
        _established(splice)
        splice.outer(tcp("FA"), 50)
        syn(splice)
        splice.inner(answer("FA", 5), 110)
        last = 110 + TIMES.tau[State.ESTABLISHED] + L + 2 * D - 1
        assert said(splice.outer(tcp("A"), last)) == CHAIN1
        splice.inner(answer("R", 5), last + 1)
        assert said(splice.outer(tcp("A"), last + 1 + LATE)) == CHAIN0, "after the ACK it is heard again"


def a_syn_soon_after_a_reset_takes_nothing_from_the_pins_life(make: Make) -> None:
    """The RST may be forged, and the SYN a late copy of the session's own: server packets keep the pin."""
    for wait, chain in ((2 * D, CHAIN1), (2 * D + 1, CHAIN0)):
        splice = make(setup())
        _established(splice)
        splice.outer(tcp("R"), 100)
        splice.inner(answer("S", 5), 100 + wait)
        splice.inner(answer("A", 5), 110 + wait)
        opening = 110 + wait + TIMES.tau[State.OPENING] + L + 2 * D
        assert said(splice.outer(tcp("A"), opening)) == chain
    splice = make(setup())
    _established(splice)
    splice.outer(tcp("FA"), 98)
    splice.inner(answer("FA", 5), 99)
    splice.inner(answer("S", 5), 100)
    opening = 100 + TIMES.tau[State.OPENING] + L + 2 * D
    assert said(splice.outer(tcp("A"), opening)) == CHAIN0, "it was over"


def the_clients_reset_closes_an_opening_session(make: Make) -> None:
    splice = make(setup())
    splice.inner(answer("S", 5), 0)
    splice.outer(tcp("R"), 1)
    assert said(splice.outer(tcp("S"), 1 + LATE)) == CHAIN0


def an_asks_fin_or_reset_changes_nothing(make: Make) -> None:
    for flags in ("R", "FA"):
        splice = make(setup())
        _established(splice)
        splice.outer(tcp("FA"), 2)
        splice.inner(answer(flags, 4094), 10)
        assert said(splice.outer(tcp("A"), 10 + LATE)) == CHAIN1
    splice = make(setup())
    assert said(splice.inner(answer("R", 4), 0)) == ("inner", 5, "ask_answered")
    assert said(splice.outer(tcp("A"), LATE)) == CHAIN1


def a_syn_on_a_quiet_closed_pin_leaves_a_chain_that_cools(make: Make) -> None:
    for state, weight, wait, reason in (
        ("cooling", 100, 4 * D + 1, CHAIN0),
        ("cooling", 100, 4 * D, CHAIN1),
        ("active", 0, 4 * D + 1, CHAIN0),
        ("active", 100, 4 * D + 1, CHAIN1),
    ):
        splice = make(setup(slots={**SLOTS, 1: replace(SLOTS[1], state=state, weight=weight)}))
        _established(splice)
        splice.outer(tcp("R"), 100)
        assert said(splice.outer(tcp("S"), 100 + wait)) == reason


def both_sides_open_a_closed_session_anew(make: Make) -> None:
    """The server's SYN does not follow a lease that the client's SYN may have made void at the master."""
    for weight, goes in ((0, ("inner", 4094, "ask_sent")), (100, ("inner", 4, "hint_sent"))):
        splice = make(setup("slave", slots={**SLOTS, 1: replace(SLOTS[1], weight=weight)}))
        splice.inner(tcp("A", 4), 0)
        splice.inner(tcp("FA", 4), 0)
        assert said(splice.outer(answer("S"), 500)) == goes
        assert said(splice.outer(answer("A"), 500)) == ("inner", 5, "to_chain")
        assert said(splice.inner(answer("S", 3), 500)) == ("inner", 3, "to_chain")
        assert said(splice.outer(answer("A"), 500)) == ("inner", 3, "to_chain")
        assert splice.counts["affinity_mismatch"] == 0


def an_asks_syn_opens_a_closed_pin(make: Make) -> None:
    """So that the client's own SYN, at the same time, does not leave the chain that cools."""
    splice = make(setup(slots={**SLOTS, 1: replace(SLOTS[1], state="cooling")}))
    _established(splice)
    splice.outer(tcp("R"), 100)
    assert said(splice.inner(answer("S", 4094), 300 + 2 * D)) == ("inner", 5, "ask_answered")
    assert said(splice.outer(tcp("S"), 300 + 6 * D + 1)) == CHAIN1


def only_the_clients_syn_leaves_it(make: Make) -> None:
    splice = make(setup(slots={**SLOTS, 1: replace(SLOTS[1], state="cooling")}))
    _established(splice)
    splice.outer(tcp("R"), 100)
    splice.inner(answer("S", 5), 600)
    assert said(splice.outer(tcp("A"), 700)) == CHAIN1


def a_session_placed_anew_is_no_mismatch_at_the_slave(make: Make) -> None:
    splice = make(setup("slave"))
    splice.inner(tcp("A", 4), 0)
    splice.inner(tcp("R", 4), 0)
    splice.inner(tcp("S", 2), 500)
    assert splice.counts["affinity_mismatch"] == 0
    splice.inner(tcp("A", 4), 600)
    assert splice.counts["affinity_mismatch"] == 1
    splice.configure(setup("slave", slots={**SLOTS, 1: replace(SLOTS[1], state="cooling")}))
    splice.inner(tcp("S", 2), 700)
    assert splice.counts["affinity_mismatch"] == 1, "its lease does not know that the session closed"


def a_slaves_lease_keeps_its_life_when_a_syn_takes_it_elsewhere(make: Make) -> None:
    """The SYN may be forged: the session that was established is still remembered as one."""
    splice = make(setup("slave"))
    splice.inner(tcp("A", 4), 0)
    splice.inner(tcp("S", 2), 400)
    splice.inner(tcp("S", 2), 500)
    assert said(splice.outer(answer("A"), 500 + TIMES.life[State.OPENING]))[2] == "hint_sent"


def the_servers_fin_closes_a_lease_that_the_client_closed(make: Make) -> None:
    for flags, reason in (("A", "hint_sent"), ("FA", "ask_sent")):
        splice = make(setup("slave"))
        splice.inner(tcp("A", 4), 0)
        splice.inner(tcp("FA", 4), 0)
        splice.outer(answer(flags), 10)
        assert said(splice.outer(answer("A"), LATE))[2] == reason


def a_closed_chain_is_no_hint(make: Make) -> None:
    splice = make(setup("slave"))
    splice.inner(tcp("A", 4), 0)
    splice.configure(setup("slave", slots={**SLOTS, 1: replace(SLOTS[1], state="closed")}))
    assert said(splice.outer(answer("A"), L))[2] == "ask_sent"


def a_slaves_closing_lease_lingers(make: Make) -> None:
    """An ACK right after a RST leaves the hint as short as it was; a later one shows that it lives."""
    for wait, reason in ((2 * D, "ask_sent"), (2 * D + 1, "hint_sent")):
        splice = make(setup("slave"))
        splice.inner(tcp("A", 4), 0)
        splice.inner(tcp("R", 4), 0)
        splice.inner(tcp("A", 4), wait)
        assert said(splice.outer(answer("A"), wait + LATE))[2] == reason
