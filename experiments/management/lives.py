"""The life table that a stand-in tells: sessions that come evenly, most of them short and a few long. Pure.

An age is survived by (1 + age / `_SCALE_S`) ** -`_TAIL` of all sessions: 40 s on the average.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from catenary.session import Timeouts
from catenary.wire.sessions import Leaving, LifeCell, LifeTable, SessionState
from lb_adapter.lives import AGES, IDLES

_SCALE_S, _TAIL = 60.0, 2.5
_TCP, _REST = 8000, 2000
"""Sessions that began in the period, of each kind."""
_STATES: Sequence[SessionState] = ("established", "udp", "established", "established", "closing")
"""Of live sessions, in turns."""


def life_table() -> LifeTable:
    """Of a segment, without any chain."""
    return LifeTable(
        period=3600.0,
        ages=[round(float(age), 4) for age in AGES],
        idles=[round(float(idle), 4) for idle in IDLES],
        tcp=_leaving(_TCP, closing=0.95),
        rest=_leaving(_REST, closing=0.0),
        pairs=[],
    )


def cells(count: int, timeouts: Timeouts) -> list[LifeCell]:
    """So many live sessions of a chain, as old as those are that are found at one moment."""
    found: Counter[tuple[SessionState, int, int]] = Counter()
    for number in range(count):
        state = _STATES[number % len(_STATES)]
        share = (number + 0.5) / count
        age = _SCALE_S * ((1 - share) ** (-1 / (_TAIL - 1)) - 1)
        idle = min(age, timeouts.hold(state)) * (7 * number % count + 0.5) / count
        found[state, _bin(AGES.tolist(), age), _bin(IDLES.tolist(), idle)] += 1
    return [
        LifeCell(state=state, age=age, idle=idle, sessions=sessions)
        for (state, age, idle), sessions in sorted(found.items())
    ]


def _leaving(sessions: int, closing: float) -> Leaving:
    """Who of so many leaves at which age; this share of them closes."""
    risk = [sessions * (1 + float(age) / _SCALE_S) ** -_TAIL for age in AGES]
    left = [round(now) - round(then) for now, then in pairwise(risk)]
    closed = [round(closing * count) for count in left]
    return Leaving(
        risk=[round(share, 4) for share in risk[:-1]],
        closed=closed,
        expired=[all_ - some for all_, some in zip(left, closed, strict=True)],
    )


def _bin(edges: Sequence[float], value: float) -> int:
    return min(bisect_right(edges, value), len(edges) - 1) - 1
