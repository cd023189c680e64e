"""When a load balancer's machine counts as gone, and when its pair is fit again: the pure decision."""

from __future__ import annotations

import pytest

from mgmt_system.gone import (
    DOUBLINGS,
    MEMORY_S,
    SILENT_LOOKS,
    SILENT_S,
    STEADY_S,
    Look,
    Pair,
    observed,
    verdict,
)

EVERY = 0.2
LOST, WELL = Look(linked=False, answers=False), Look(linked=True, answers=True, well=True)


def watched(pair: Pair, look: Look, since: float, until: float, other: Look = WELL) -> tuple[Pair, float]:
    """After looks every 0.2 s; the moment of the last one."""
    now = since
    while now <= until:
        pair = observed(pair, {"l1": other, "l2": look}, now)
        now += EVERY
    return pair, now - EVERY


def told(pair: Pair, now: float, *, around: bool = False, fails_open: bool = True) -> str | None:
    return verdict(pair, now, around=around, fails_open=fails_open)


def test_a_machine_without_links_and_answers_is_gone_in_half_a_second() -> None:
    now, pair = 0.0, Pair()
    while told(pair, now) is None:
        now += EVERY
        pair = observed(pair, {"l1": WELL, "l2": LOST}, now)
    assert now - EVERY <= SILENT_S + EVERY
    assert (pair.gone, told(pair, now)) == ({"l2"}, "around")
    assert told(pair, now, fails_open=False) is None


@pytest.mark.parametrize(
    "look",
    [
        Look(linked=True, answers=False),  # the daemon alone is dead: packets go on
        Look(linked=False, answers=True),  # a cable
        Look(linked=None, answers=False),  # its switch is lost to the controller
        Look(linked=True, answers=None),
    ],
)
def test_anything_less_is_no_loss(look: Look) -> None:
    pair, now = watched(Pair(), look, 0.0, 10.0)
    assert (pair.gone, told(pair, now)) == (frozenset(), None)


def test_one_look_is_not_enough_however_long_it_took() -> None:
    assert SILENT_LOOKS == 2
    pair = observed(Pair(), {"l1": WELL, "l2": LOST}, 0.0)
    assert not observed(pair, {"l1": WELL, "l2": WELL}, 5.0).gone
    flapped = observed(observed(pair, {"l1": WELL, "l2": WELL}, 5.0), {"l1": WELL, "l2": LOST}, 10.0)
    assert not flapped.gone


def test_traffic_goes_through_once_both_were_well_for_a_while() -> None:
    pair, now = watched(Pair(), LOST, 0.0, 1.0)
    pair, now = watched(pair, Look(linked=True, answers=False), now, now + 5)
    assert (pair.gone, told(pair, now, around=True)) == ({"l2"}, None)
    pair, now = watched(pair, Look(linked=True, answers=True), now, now + 5)  # not each other's yet
    assert (pair.gone, told(pair, now, around=True)) == (frozenset(), None)
    began = now
    while told(pair, now, around=True) is None:
        pair, now = observed(pair, {"l1": WELL, "l2": WELL}, now), now + EVERY
    assert STEADY_S <= now - began <= STEADY_S + 3 * EVERY
    assert told(pair, now) is None


def test_a_policy_that_changed_takes_traffic_back_at_once() -> None:
    pair, now = watched(Pair(), LOST, 0.0, 1.0)
    assert told(pair, now, around=True, fails_open=False) == "through"


def test_who_comes_to_lead_goes_on_without_a_memory() -> None:
    pair = observed(Pair(), {"l1": WELL, "l2": WELL}, 0.0)
    assert told(pair, 0.0, around=True) is None
    assert told(pair, STEADY_S, around=True) == "through"


def test_what_flaps_is_led_through_later_each_time_but_not_for_ever() -> None:
    pair, now, waits = Pair(), 0.0, []
    for _ in range(DOUBLINGS + 3):
        pair, now = watched(pair, LOST, now, now + 1)
        began = now = now + EVERY
        pair = observed(pair, {"l1": WELL, "l2": WELL}, now)
        while told(pair, now, around=True) is None:
            now += EVERY
        waits.append(round(now - began))
    assert waits[:3] == [STEADY_S, 2 * STEADY_S, 4 * STEADY_S]
    assert max(waits) == STEADY_S * 2**DOUBLINGS
    calm = observed(pair, {"l1": WELL, "l2": WELL}, now + MEMORY_S + 1)
    assert told(calm, now + MEMORY_S + 1 + STEADY_S, around=True) == "through"
