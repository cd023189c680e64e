"""Overflow (affinity rule 7): when the session table is nearly full, and when that is over. Pure.

While it lasts every new key goes by the plain consistent hash, so that a key gets one answer with and
without a pin; for that the chain set may not change.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import inf

from catenary.session import Timeouts
from lb_adapter.dataplane.base import Load

HIGH_WATER, LOW_WATER = 0.9, 0.8
"""Shares of the table's capacity: overflow is entered above the first, and left below the second."""


@dataclass(frozen=True)
class Overflow:
    """`unpinned` counts packets placed without a pin, `evicted` half-open sessions that lost theirs; `since`
    and `evicted_at` are when they last grew.

    `roomy`: below the low-water mark there is no need to evict; half-open sessions come all the time, and
    overflow would never end.
    """

    active: bool = False
    unpinned: int = 0
    since: float = -inf
    evicted: int = 0
    evicted_at: float = -inf
    roomy: bool = False


def crowded(loads: Collection[Load], capacity: int) -> bool:
    """Are there tombstones in a table that is above its high-water mark?"""
    tombstones = any(load.tombstones for load in loads)
    return tombstones and sum(load.entries for load in loads) > HIGH_WATER * capacity


def observe(
    state: Overflow,
    *,
    full: bool,
    pins: int,
    capacity: int,
    unpinned: int,
    evicted: int,
    now: float,
    timeouts: Timeouts,
) -> Overflow:
    """The next state. `full`: the data plane had no room and entered overflow by itself.

    It is left T (tau + lease + 2 transit) after the last packet without a pin, for the longest state, and
    after the last eviction, for a half-open one: before that, a session placed by the hash may still be alive
    without a pin. One that was evicted and goes on gets a pin again, or is a packet without one.
    """
    if unpinned != state.unpinned or (full and not state.active):
        state = replace(state, unpinned=unpinned, since=now)
    if evicted != state.evicted:
        state = replace(state, evicted=evicted, evicted_at=now)
    state = replace(state, roomy=pins < LOW_WATER * capacity)
    if not state.active:
        return replace(state, active=full or pins > HIGH_WATER * capacity)
    over = now - state.since > timeouts.longest_hold and now - state.evicted_at > timeouts.hold("opening")
    return replace(state, active=not (over and state.roomy))


def filling(pins: int, before: int, seconds: float, ahead: float, capacity: int) -> bool:
    """Will the table be full in `ahead` s, as it has filled from `before` to `pins` within `seconds`?"""
    return pins + (pins - before) / seconds * ahead > capacity
