"""How often a caller may call: so many requests a second on average, and a burst of some seconds' worth.

One number is kept for each caller: when its next request would be due if all came evenly (GCRA, ITU-T I.371).
"""

from __future__ import annotations

from collections import OrderedDict

BURST_S = 2.0
"""A caller may be ahead by what so many seconds allow."""
KEPT = 4096
"""Callers that are remembered; who called longest ago is forgotten first."""


class Rates:
    """By caller, as a key; `now` in seconds of any clock that only grows."""

    def __init__(self, burst: float = BURST_S, kept: int = KEPT) -> None:
        self._burst = burst
        self._kept = kept
        self._due: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str, rate: float, now: float) -> float:
        """0 if a request of this caller may be served, else the seconds until one may."""
        due = max(self._due.get(caller, now), now)
        wait = due + 1.0 / rate - now - self._burst
        if wait > 0:
            return wait
        self._due[caller] = due + 1.0 / rate
        self._due.move_to_end(caller)
        if len(self._due) > self._kept:
            self._due.popitem(last=False)
        return 0.0
