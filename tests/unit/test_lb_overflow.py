"""Overflow (affinity rule 7): when it is entered, and that it is left only when nothing unpinned can live."""

from __future__ import annotations

from catenary.session import Timeouts
from lb_adapter.overflow import Overflow, filling, observe

TIMEOUTS = Timeouts(tcp_established=100.0, udp=20.0, other=20.0, tcp_opening=20.0, lease=10.0, transit=2.0)


def look(
    state: Overflow, now: float, *, pins: int = 0, unpinned: int = 0, evicted: int = 0, full: bool = False
) -> Overflow:
    return observe(
        state,
        full=full,
        pins=pins,
        capacity=1000,
        unpinned=unpinned,
        evicted=evicted,
        now=now,
        timeouts=TIMEOUTS,
    )


def test_entered_above_the_high_water_mark_or_when_the_table_was_full() -> None:
    assert not look(Overflow(), 1.0, pins=900).active
    assert look(Overflow(), 1.0, pins=901).active
    assert look(Overflow(), 1.0, full=True, unpinned=1).active


def test_left_one_t_after_the_last_unpinned_packet() -> None:
    state = look(Overflow(), 0.0, full=True, unpinned=1)
    state = look(state, 60.0, pins=100, unpinned=2)
    assert look(state, 173.9, pins=100, unpinned=2).active, "T is 100 + 10 + 2 * 2 s"
    assert not look(state, 174.1, pins=100, unpinned=2).active


def test_an_eviction_counts_as_long_as_a_half_open_session_does() -> None:
    """A flood that never filled the table keeps nobody from changing chains for hours."""
    state = look(Overflow(), 0.0, pins=950)
    state = look(state, 60.0, pins=100, evicted=5)
    assert look(state, 93.9, pins=100, evicted=5).active, "T is 20 + 10 + 2 * 2 s"
    assert not look(state, 94.1, pins=100, evicted=5).active
    state = look(state, 94.1, pins=100, evicted=5, unpinned=1)
    assert look(state, 200.0, pins=100, evicted=5, unpinned=1).active, "one that may be established"


def test_a_table_that_fills_fast_is_looked_at_sooner() -> None:
    assert filling(600, 400, 1.0, 2.1, 1000)
    assert not filling(600, 400, 1.0, 1.9, 1000)
    assert not filling(990, 995, 1.0, 2.0, 1000)


def test_nothing_needs_to_be_evicted_once_there_is_room_again() -> None:
    """Or half-open sessions, which come all the time, would be evicted for ever, and overflow never end."""
    state = look(Overflow(), 0.0, full=True, pins=1000)
    assert not state.roomy
    assert look(state, 10.0, pins=799).roomy
    assert not look(state, 10.0, pins=800).roomy


def test_not_left_while_the_table_is_nearly_full() -> None:
    state = look(Overflow(), 0.0, pins=950)
    assert look(state, 500.0, pins=800).active
    assert not look(state, 500.0, pins=799).active
