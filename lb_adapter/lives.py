"""The life table of a segment's sessions, from its live pins and from those that ended. Pure.

A subject enters when it is placed, or when the period begins if it was placed before (delayed entry), and
leaves when it closes, when its time is over, or, without having left, when the period ends or an order takes
it away (censoring). That is how a period life table is made, and it is unbiased though only the sessions that
ended lately are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catenary import wire
from catenary.tags import TagPair
from lb_adapter import abi, selecting
from lb_adapter.dataplane.base import Batch
from lb_adapter.records import Pins, field
from lb_adapter.selecting import STATES, Look

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
AGES = np.concatenate([[0.0], 0.1 * 2.0 ** (np.arange(97) / 4)])
"""Edges of the age bins in s: up to 19 days, four an octave."""
IDLES = np.concatenate([[0.0], 0.1 * 2.0 ** (np.arange(49) / 2)])
_CLOSING = STATES.index("closing")
_TCP = [STATES.index(state) for state in ("opening", "established", "closing", "reopening")]
_CENSORED = [abi.ENDINGS.index(why) for why in ("reset", "let_go", "moved", "evicted")]


@dataclass(frozen=True)
class Subjects:
    """Sessions: how many s ago each was placed, and how many s ago it left, or was seen open still.

    `why` is how it left: 1 closed, 2 expired, 0 not.
    """

    tcp: npt.NDArray[np.bool_]
    placed: Floats
    left: Floats
    why: Ints


def table(
    batches: Iterable[Batch],
    ended: npt.NDArray[np.void],
    look: Look,
    pairs: Mapping[tuple[int, int], TagPair],
) -> wire.LifeTable:
    """The life table at the moment of the look; `pairs` by slot and generation."""
    subjects, cells = [_of_ended(ended, look)], _Cells()
    for batch in batches:
        words = batch.pins["word"]
        own = field(words, "outer") != abi.FOREIGN
        kept = look.in_force(batch.pins) & own & (field(words, "state") != STATES.index("reset"))
        pins = batch.pins[kept]
        subjects.append(_of_live(pins, look))
        cells.add(pins, look)
    columns = zip(*(vars(part).values() for part in subjects), strict=True)
    every = Subjects(*(np.concatenate(column) for column in columns))
    period = _period(ended, every, look)
    return wire.LifeTable(
        period=period,
        ages=[round(float(age), 4) for age in AGES],
        idles=[round(float(idle), 4) for idle in IDLES],
        tcp=_leaving(every, every.tcp, period),
        rest=_leaving(every, ~every.tcp, period),
        pairs=[cells.of(place, tags) for place, tags in pairs.items()],
    )


def _of_live(pins: Pins, look: Look) -> Subjects:
    now = look.now(len(pins))
    states = field(pins["word"], "state")
    closing = states == _CLOSING
    silent = np.where(closing, selecting.idle(pins, now), 0)  # its word has the moment at which closing began
    return Subjects(
        np.isin(states, _TCP), selecting.ages(pins, now) / 1000, silent / 1000, closing.astype(np.int64)
    )


def _of_ended(rows: npt.NDArray[np.void], look: Look) -> Subjects:
    pins = rows["pin"]
    ago = (look.moment - look.moments(rows["at_ms"])) / 1000
    states, why = field(pins["word"], "state"), rows["why"]
    closing = states == _CLOSING
    placed = ago + selecting.ages(pins, rows["at_ms"]) / 1000
    left = ago + np.where(closing, selecting.idle(pins, rows["at_ms"]), 0) / 1000
    how = np.where(closing, 1, np.where(np.isin(why, _CENSORED), 0, 2))
    return Subjects(np.isin(states, _TCP), placed, left, how)


def _period(ended: npt.NDArray[np.void], every: Subjects, look: Look) -> float:
    """Seconds of which all is known: since the oldest row that is kept, or since the first session."""
    if len(ended) >= abi.ENDED - 1:
        return float((look.moment - look.moments(ended["at_ms"]).min()) / 1000)
    return float(every.placed.max(initial=0.0))


def _leaving(every: Subjects, mine: npt.NDArray[np.bool_], period: float) -> wire.Leaving:
    """Who was at risk in each age bin within the period, and who left."""
    mine = mine & (every.left < period)
    placed, left, why = every.placed[mine], every.left[mine], every.why[mine]
    begin, end = np.maximum(placed - period, 0.0), np.maximum(placed - left, 0.0)
    widths = np.diff(AGES)
    lived = np.diff(_below(end) - _below(begin))
    bins = _bins(end, AGES)
    gone = why > 0
    # Who left would have stayed to the end of the bin: so the share that left is that of all who entered.
    spared = np.maximum(AGES[bins[gone] + 1] - end[gone], 0.0)
    risk = (lived + np.bincount(bins[gone], weights=spared, minlength=len(widths))) / widths
    return wire.Leaving(
        risk=[round(float(share), 4) for share in risk],
        closed=np.bincount(bins[why == 1], minlength=len(widths)).tolist(),
        expired=np.bincount(bins[why == 2], minlength=len(widths)).tolist(),
    )


def _below(ages: Floats) -> Floats:
    """At each edge, the sum of min(age, edge)."""
    bins = _bins(ages, AGES)
    counts = np.bincount(bins, minlength=len(AGES) - 1)
    sums = np.bincount(bins, weights=ages, minlength=len(AGES) - 1)
    below = np.concatenate([[0.0], np.cumsum(sums)])
    above = len(ages) - np.concatenate([[0], np.cumsum(counts)])
    result: Floats = below + above * AGES
    return result


def _bins(values: Floats, edges: Floats) -> Ints:
    bins: Ints = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return bins


class _Cells:
    """Live sessions by slot, generation, state, age bin and idle bin."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], dict[tuple[int, int, int], int]] = {}

    def add(self, pins: Pins, look: Look) -> None:
        words, now = pins["word"], look.now(len(pins))
        columns = (
            field(words, "slot"),
            field(words, "generation"),
            field(words, "state"),
            _bins(selecting.ages(pins, now) / 1000, AGES),
            _bins(selecting.idle(pins, now) / 1000, IDLES),
        )
        code = np.zeros(len(pins), dtype=np.int64)
        for column, size in zip(columns, (1024, 1024, 8, 128, 64), strict=True):
            code = code * size + column.astype(np.int64)
        for cell, count in zip(*(part.tolist() for part in np.unique(code, return_counts=True)), strict=True):
            rest, idle = divmod(cell, 64)
            rest, age = divmod(rest, 128)
            rest, state = divmod(rest, 8)
            here = self._counts.setdefault(divmod(rest, 1024), {})
            here[state, age, idle] = here.get((state, age, idle), 0) + count

    def of(self, place: tuple[int, int], tags: TagPair) -> wire.ChainLives:
        counts = self._counts.get((place[0], place[1] & 0x3FF), {})
        return wire.ChainLives(
            **wire.Tags.of(tags).model_dump(),
            sessions=sum(count for (state, _, _), count in counts.items() if state != _CLOSING),
            cells=[
                wire.LifeCell(state=STATES[state], age=age, idle=idle, sessions=count)
                for (state, age, idle), count in sorted(counts.items())
            ],
        )
