"""Sessions of each slot as p2c weighs them, put right after a walk. Pure.

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


@dataclass(frozen=True)
class Tally:
    """Of each slot: its load, and how many sessions ever began there."""

    loads: Counts
    begun: Counts


def drift(before: Tally, after: Tally, live: Counts) -> Counts:
    """What to add to the loads after a walk, between two tallies, that counted `live` sessions.

    0 where chance explains the difference: each session that began or ended meanwhile was counted with even
    odds, which adds a variance of 1/4.
    """
    begun = np.maximum(after.begun - before.begun, 0)
    changes = begun + np.abs(begun - (after.loads - before.loads))
    twice = 2 * live - (before.loads + after.loads)
    wrong = np.where(twice**2 > CHANCE**2 * changes, twice, 0)
    return np.asarray(np.fix(wrong / 2), dtype=np.int64)  # towards zero: half a session is none
