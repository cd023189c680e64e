"""Has a master's data plane enter and leave overflow, by the room in its session table (affinity rule 7)."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from catenary.session import Timeouts
from lb_adapter.daemon import BUSY_TICK, log
from lb_adapter.dataplane.base import DataPlane
from lb_adapter.overflow import Overflow, filling, observe


class CapacityWatch:
    """Overflow as `overflow` says, in force in the data plane, which enters it by itself when it is full.

    `urgent`: the next walk should come soon, so that half-open sessions make room before there is none left.
    """

    def __init__(self, plane: DataPlane, timeouts: Timeouts, now: float) -> None:
        self._plane = plane
        self._timeouts = timeouts
        active = plane.overflow()
        self._state = Overflow(active=active, since=now if active else -inf)
        self._pins, self._looked, self._filling = 0, now, False
        self.urgent = False

    def look(self, pins: int | None, counters: Mapping[str, int], now: float, ahead: float) -> None:
        """`pins`: how many the table holds, of all kinds, or None: they were not counted again.

        `counters`: the data plane's, as read last; `ahead`: s until pins are counted next, if that is not
        urgent.
        """
        before, self._pins = self._pins, self._pins if pins is None else pins
        state = self._observed(self._pins, counters, now)
        if pins is not None:
            since = max(now - self._looked, BUSY_TICK)
            self._filling = filling(pins, before, since, 2 * ahead, self._plane.capacity)
            self._looked = now
        self.urgent = (state.active and not state.roomy) or self._filling
        if state.active or not self._state.active:
            self._enter(state)
            return
        with self._plane.refusing():  # all that was placed without a pin is counted now
            self._enter(self._observed(self._pins, self._plane.counters(), now))

    def _observed(self, pins: int, counters: Mapping[str, int], now: float) -> Overflow:
        return observe(
            self._state,
            full=self._plane.overflow(),
            pins=pins,
            capacity=self._plane.capacity,
            unpinned=counters["pin_table_full"],
            evicted=counters["evicted"],
            now=now,
            timeouts=self._timeouts,
        )

    def _enter(self, state: Overflow) -> None:
        self._state = state
        changed = state.active != self._plane.overflow()
        if changed or state.active:
            self._plane.set_overflow(state.active, roomy=state.roomy)
        if changed:
            log.warning("overflow", active=state.active, capacity=self._plane.capacity)
