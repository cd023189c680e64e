"""How often a daemon goes over its session table: by what that takes, for it grows with the table. Pure.

All times are s of the daemon's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

SHARE, HASTE, ALWAYS = 0.25, 0.5, 1.0
"""Of the time, what walks take at most: at rest; while a chain cools down, for `drained` is to be told soon;
and where room is wanted at once."""
LONG = 0.25
"""A walk that takes longer is not made for each one who asks for statistics."""


@dataclass(frozen=True)
class Pace:
    """The last walk `took` so long and was over at `ended`; until `rest` a copy is not to be disturbed."""

    took: float = 0.0
    ended: float = -inf
    rest: float = -inf

    def walked(self, begun: float, ended: float) -> Pace:
        return replace(self, took=ended - begun, ended=ended)

    def copying(self, begun: float, now: float) -> Pace:
        """A copy has been under way since `begun`: who gets it needs about as long again to take it in."""
        return replace(self, rest=now + 2 * (now - begun))

    def pause(self, share: float) -> float:
        """Between the end of a walk and the next one's beginning."""
        return self.took * (1 / share - 1)

    def due(self, now: float, share: float) -> bool:
        """Is it time for the next one?"""
        return now >= max(self.ended + self.pause(share), self.rest)

    @property
    def long(self) -> bool:
        """Is a walk too long to be made whenever somebody asks?"""
        return self.took > LONG
