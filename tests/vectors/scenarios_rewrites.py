"""Chains that change keys, and what the two load balancers tell each other about them: affinity rule 2."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import ICMP, IPerror, TCPerror

from lb_adapter.core.oracle_pin import FOREIGN, Pin, State
from lb_adapter.core.setup import Order
from tests.vectors.acting import (
    CHAIN0,
    CHAIN1,
    SLOTS,
    TIMES,
    A,
    AnySplice,
    B,
    L,
    Make,
    answer,
    key_of,
    said,
    setup,
    tcp,
    to_client,
)

KEY = key_of(tcp("A")).pack()
T = TIMES.tau[State.ESTABLISHED] + L + 2 * TIMES.transit


def take_in(splice: AnySplice, slot: int, seen: int, now: int, generation: int = 1) -> None:
    pin = Pin(slot, generation, State.ESTABLISHED, seen, outer=FOREIGN)
    splice.take_in(KEY, pin.word(), now)


def an_ask_finds_what_the_stream_brought(make: Make) -> None:
    splice = make(setup(rewrites=True))
    take_in(splice, 1, 0, 10)
    assert said(splice.inner(answer("A", 4094), 20)) == ("inner", 5, "ask_answered")
    splice.walk(20)
    assert said(splice.inner(answer("A", 4), T)) == ("inner", 5, "ask_answered"), "the ask renewed it"


def what_the_stream_brings_late_is_nothing(make: Make) -> None:
    splice = make(setup(rewrites=True))
    take_in(splice, 1, 0, T)
    take_in(splice, 1, T, T, generation=2)
    take_in(splice, 9, T, T)
    assert said(splice.inner(answer("A", 4094), T)) == ("inner", 3, "ask_answered")
    splice = make(setup(rewrites=True))
    take_in(splice, 1, 0, 0)
    take_in(splice, 2, 1, 1, generation=2)
    assert said(splice.inner(answer("A", 4094), 2)) == ("inner", 5, "ask_answered")


def the_stream_overwrites_what_an_ask_assigned(make: Make) -> None:
    splice = make(setup(rewrites=True))
    assert said(splice.inner(answer("A", 4094), 0)) == ("inner", 3, "ask_answered")
    take_in(splice, 1, 0, 5)
    assert said(splice.inner(answer("A", 4094), 5)) == ("inner", 3, "ask_answered"), "it is no later"
    take_in(splice, 1, 6, 7)
    assert said(splice.inner(answer("A", 4094), 8)) == ("inner", 5, "ask_answered")
    take_in(splice, 2, 7, 9)
    assert said(splice.inner(answer("A", 4094), 9)) == ("inner", 5, "ask_answered"), (
        "older than what is known"
    )


def the_stream_never_moves_what_was_seen_here(make: Make) -> None:
    for seen_here in (
        lambda splice: splice.outer(tcp("A"), 0),
        lambda splice: splice.inner(answer("A", 3), 0),
        lambda splice: (splice.inner(answer("A", 4094), 0), splice.inner(answer("A", 3), 0)),
        lambda splice: (take_in(splice, 0, 0, 0), splice.outer(tcp("A"), 0)),
    ):
        splice = make(setup(rewrites=True))
        seen_here(splice)
        take_in(splice, 1, 100, 100)
        assert said(splice.outer(tcp("A"), 101)) == CHAIN0
    splice = make(setup(rewrites=True))
    splice.outer(tcp("A"), 0)
    take_in(splice, 1, T, T)
    assert said(splice.outer(tcp("A"), T)) == CHAIN1, "but its own had expired"


def what_was_seen_here_gets_younger_by_the_stream(make: Make) -> None:
    """A master that has copied its slave's table sees no packet of a NAT's key again."""
    splice = make(setup(rewrites=True))
    splice.inner(answer("A", 5), 0)
    take_in(splice, 1, 100, 100)
    take_in(splice, 1, 50, 150)
    closed = {**SLOTS, 1: replace(SLOTS[1], state="closed")}
    splice.configure(setup(rewrites=True, slots=closed))
    assert said(splice.inner(answer("A", 4094), T + 99)) == ("inner", 5, "ask_answered"), "and stays its own"
    splice = make(setup(rewrites=True))
    splice.inner(answer("A", 5), 0)
    splice.outer(tcp("R"), 1)
    take_in(splice, 1, 100, 100)
    over = 1 + TIMES.tau[State.CLOSING] + L + 4 * TIMES.transit
    assert said(splice.inner(answer("A", 4094), over)) == ("inner", 3, "ask_answered"), "closing began at 1"


def without_rewriting_chains_an_ask_makes_an_own_pin(make: Make) -> None:
    splice = make(setup())
    splice.inner(answer("A", 4094), 0)
    take_in(splice, 1, 6, 7)
    assert said(splice.inner(answer("A", 4094), 8)) == ("inner", 3, "ask_answered")


def the_slave_has_no_lease_of_its_own_by_the_stream(make: Make) -> None:
    """The master's word comes as a lapsed lease, a hint; the forward tag is truer."""
    splice = make(setup("slave"))
    take_in(splice, 1, 0, L)
    assert said(splice.outer(answer("A"), L)) == ("inner", 4, "hint_sent")
    splice.inner(tcp("A", 6), L)
    take_in(splice, 1, L + 1, L + 1)
    assert said(splice.outer(answer("A"), L + 2)) == ("inner", 7, "to_chain")


def no_other_chain_gets_what_a_closed_one_made(make: Make) -> None:
    """Were it answered, a drained chain would go on; and no other chain made this key."""
    closed = setup(rewrites=True, slots={**SLOTS, 1: replace(SLOTS[1], state="closed")})
    quoted = ICMP(type=3, code=4) / IPerror(src=A, dst=B) / TCPerror(sport=1000, dport=80)
    splice = make(setup(rewrites=True))
    take_in(splice, 1, 0, 10)
    splice.configure(closed)
    assert said(splice.inner(answer("A", 4094), 20)) == ("", 0, "drop_closed")
    assert said(splice.inner(answer("A", 2), 20)) == ("", 0, "drop_closed")
    assert splice.counts["hint_refused"] == 1
    assert said(splice.inner(to_client(quoted, 4094), 20)) == ("", 0, "drop_error_unknown")
    splice = make(closed)
    take_in(splice, 1, 0, 10)
    assert said(splice.inner(answer("A", 4094), 20)) == ("inner", 3, "ask_answered"), "it takes nothing in"


def what_the_stream_brought_is_no_load_and_is_not_evicted(make: Make) -> None:
    """Rule 7: p2c weighs own sessions; a streamed key can't be asked for again, unlike a half-open one."""
    splice = make(setup(rewrites=True))
    splice.take_in(KEY, Pin(0, 1, State.OPENING, 0, outer=FOREIGN).word(), 0)
    splice.overflow = True
    splice.walk(1)
    assert splice.counts["evicted"] == 0
    splice.overflow = False
    splice.outer(tcp("S"), 2)
    splice.overflow = True
    splice.walk(3)
    assert splice.counts["evicted"] == 1, "now it is the client's"


def the_stream_neither_brings_nor_replaces_a_tombstone(make: Make) -> None:
    """What was reset here stays so; a reset there was ordered here, too."""
    splice = make(setup(rewrites=True))
    splice.outer(tcp("A"), 0)
    assert splice.sweep(Order("reset"), 1) == (1, 0)
    take_in(splice, 1, 2, 3)
    assert said(splice.outer(tcp("A"), 4))[2] == "session_reset"
    splice = make(setup(rewrites=True))
    splice.take_in(KEY, Pin(1, 1, State.RESET, 0, outer=FOREIGN).word(), 0)
    assert said(splice.inner(answer("A", 4094), 1)) == ("inner", 3, "ask_answered")


def an_order_counts_only_what_is_the_load_balancers_own(make: Make) -> None:
    for mode in ("reset", "delete"):
        splice = make(setup(rewrites=True))
        take_in(splice, 1, 0, 0)
        assert splice.sweep(Order(mode, (1, 1)), 1) == (0, 0)
        take_in(splice, 2, 5, 5)
        there = said(splice.inner(answer("A", 4094), 6))
        assert (there == ("inner", 7, "ask_answered")) == (mode == "delete"), "it is gone, or a tombstone"
