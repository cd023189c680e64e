"""Sessions of each slot as p2c weighs them, put right after a walk.

They are counted up and down as sessions begin and end, which is exact but for what no packet tells: pins that
expire, or that a copy brings. The walk sees these. But one that begins or ends while it walks is in what
it counts by chance, and where few sessions live, that is more than any drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
CHANCE = 4
"""Standard deviations that chance explains."""
KEPT = 0.9
"""Of what earlier walks found, at each new one: what is wrong by little shows in some twenty of them."""


@dataclass(frozen=True)
class Tally:
    """Of each slot: its load, and how many sessions ever began there."""

    loads: Counts
    begun: Counts


class Drift:
    """What walks found of `slots` slots. Pure but for what it remembers of the last ones."""

    def __init__(self, slots: int) -> None:
        self._wrong = np.zeros(slots)
        self._variance = np.zeros(slots)
        self._walks = np.zeros(slots)

    def found(self, before: Tally, after: Tally, live: Counts) -> Counts:
        """What to add to the loads after a walk, between two tallies, that counted `live` sessions.

        0 where chance explains the difference: each session that began or ended meanwhile was counted with
        even odds, which adds a variance of 1/4. (All is reckoned in halves of a session here.)
        """
        begun = np.maximum(after.begun - before.begun, 0)
        changes = begun + np.abs(begun - (after.loads - before.loads))
        wrong = 2 * live - (before.loads + after.loads)
        self._wrong = KEPT * self._wrong + wrong
        self._variance = KEPT**2 * self._variance + changes
        self._walks = KEPT * self._walks + 1
        at_once, by_and_by = _beyond(wrong, changes), _beyond(self._wrong, self._variance)
        halves = np.where(at_once, wrong, np.where(by_and_by, self._wrong / self._walks, 0))
        for memory in (self._wrong, self._variance, self._walks):
            memory[at_once | by_and_by] = 0
        return np.asarray(np.fix(halves / 2), dtype=np.int64)  # towards zero: half a session is none


def _beyond(wrong: npt.NDArray[np.float64], variance: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(wrong**2 > CHANCE**2 * variance)
