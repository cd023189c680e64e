"""How long a removed chain will cool down, from who is alive and how long sessions of its segment live. Pure.

The model. A removed chain gets no new session, so it is over when the last of its pins is, and 2 D of proof
later it is drained. A session is open until it closes (TCP), or was silent for T of its state; a pin that
closed is held for T of a closing one. So three kinds of live sessions are told apart:

- closing: its pin goes T after closing began, which was `idle` ago: certain.
- other TCP: it leaves its open life at some age, by the life table, and mostly closes then: T more.
- all else: it leaves by silence alone, and not before T - `idle`. From there on by the life table, too.

The life table says which share of the sessions that reach an age bin leave in it; in the bin they leave
evenly. Where few were ever seen so old, the rate of the octave before is carried on (a low one if none left
in it), falling with the root of the age: between an exponential tail and a heavy one. Before enough sessions
have left at all, they are taken to have as much before them as behind them, as in a steady state, and to end
at random.

Sessions are independent: a chain is over by t with the product of what each of its sessions is over with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from catenary.session import Timeouts
from catenary.wire import ChainLives, Leaving, LifeTable

Floats = npt.NDArray[np.float64]
ENOUGH = 5.0
"""Sessions that must have been at risk, or must have left, before their share counts by itself."""
NONE_LEFT = 0.25
"""So many count as having left an octave in which none did: who outlives the others does not live for ever.
With more, heavy tails would be taken for too short.
"""
OCTAVE = 4
"""Bins of a life table in which the age doubles."""
SURELY = 1 - 1e-9
_TCP = ("opening", "established", "reopening")
_PARTS, _ROUNDS = 8, 11
"""A span is cut into so many parts, so often: 19 days to less than a millisecond. Numpy looks at all parts in
little more time than at one.
"""


@dataclass(frozen=True)
class Forecast:
    """Seconds from the removal to the end of the cool-down. `earliest`: if no session says another word."""

    earliest: float
    p50: float
    p95: float


@dataclass(frozen=True)
class Survival:
    """For how long sessions of one kind stay open.

    `shares` of those that reach an age bin leave in it; `closes`: the share of these, and of those that leave
    later, that closes.
    """

    edges: Floats
    shares: Floats
    closes: Floats

    @classmethod
    def of(cls, leaving: Leaving, edges: Sequence[float], mean_age: float) -> Survival:
        """`mean_age` is that of the live ones, for want of any that left."""
        ages, risk = np.array(edges), np.array(leaving.risk)
        closed, gone = np.array(leaving.closed), np.array(leaving.closed) + np.array(leaving.expired)
        widths = np.diff(ages)
        left = gone.sum()
        mean = float((risk * widths).sum() / left) if left >= ENOUGH else max(mean_age, float(ages[1]))
        shares = np.zeros(len(widths))
        rate, since = 1 / mean, 0.0
        for k, width in enumerate(widths):
            near = slice(max(0, k - OCTAVE), k)
            if left >= ENOUGH and risk[near].sum() >= ENOUGH:
                rate = max(gone[near].sum(), NONE_LEFT) / (risk[near] * widths[near]).sum()
                since = float(ages[k])
            # Between a rate that stays (exponential) and one that falls with the age (power law).
            likely = 1 - np.exp(-rate * width * (np.sqrt(since / ages[k]) if since else 1.0))
            shares[k] = (gone[k] + likely) / (risk[k] + 1) if left >= ENOUGH else likely
        later = np.cumsum(gone[::-1])[::-1]
        closing = np.cumsum(closed[::-1])[::-1]
        overall = closed.sum() / left if left else 1.0
        closes = np.where(later > 0, closing / np.maximum(later, 1), overall)
        return cls(ages, np.clip(shares, 0.0, SURELY), closes)

    @cached_property
    def _sums(self) -> Floats:
        """Log of the share that is open still at each edge."""
        return np.concatenate([[0.0], np.cumsum(np.log1p(-self.shares))])

    @cached_property
    def _widths(self) -> Floats:
        return np.diff(self.edges)

    def log(self, ages: Floats) -> Floats:
        """Log of the share that is open still at these ages."""
        bins = np.searchsorted(self.edges[1:-1], ages, side="right")
        inside = (ages - self.edges[bins]) / self._widths[bins]  # beyond 1 in the last bin
        evenly = np.log1p(-self.shares[bins] * np.minimum(inside, 1.0))
        result: Floats = self._sums[bins] + evenly
        return result

    def gone(self, ages: Floats, after: Floats) -> Floats:
        """The probability that who is open at these ages has left `after` seconds later."""
        later = np.maximum(after, 0.0)
        return -np.expm1(self.log(ages + later) - self.log(ages))


class Outlook:
    """What a segment's life table says of its chains."""

    def __init__(self, table: LifeTable, timeouts: Timeouts) -> None:
        self._ages, self._idles = np.array(table.ages), np.array(table.idles)
        self._timeouts = timeouts
        cells = [
            cell for pair in table.pairs for cell in pair.cells if cell.state not in ("closing", "reset")
        ]
        tcp = [cell for cell in cells if cell.state in _TCP]
        rest = [cell for cell in cells if cell.state not in _TCP]
        self._tcp = Survival.of(table.tcp, table.ages, self._mean_age(tcp))
        self._rest = Survival.of(table.rest, table.ages, self._mean_age(rest))
        self._linger = timeouts.hold("closing")

    def _mean_age(self, cells: Sequence[Any]) -> float:
        count = sum(cell.sessions for cell in cells)
        return (
            sum(cell.sessions * self._middle(self._ages, cell.age) for cell in cells) / count
            if count
            else 0.0
        )

    @staticmethod
    def _middle(edges: Floats, number: int) -> float:
        return float(edges[number] + edges[min(number + 1, len(edges) - 1)]) / 2

    def forecast(self, chain: ChainLives) -> Forecast:
        """The cool-down of a chain that takes no new session from now on."""
        proof = 2 * self._timeouts.transit
        crowd = _Crowd.of(chain, self)
        earliest = max((self._surely(cell) for cell in chain.cells), default=0.0)
        p50, p95 = np.maximum(earliest, crowd.quantiles(np.array([0.5, 0.95]))) + proof
        return Forecast(earliest + proof, float(p50), float(p95))

    def cut(self, chain: ChainLives, deadline: float) -> float:
        """Sessions that are expected to be held still after `deadline` seconds."""
        return _Crowd.of(chain, self).held(deadline)

    def _surely(self, cell: Any) -> float:
        """How long a pin of this cell is held at least: TCP may close at once."""
        left = self._timeouts.hold(cell.state) - float(self._idles[min(cell.idle + 1, len(self._idles) - 1)])
        return max(0.0, min(left, self._linger) if cell.state in _TCP else left)


@dataclass(frozen=True)
class _Crowd:
    """The sessions of one chain: how many of each sort, and for how long each sort is held."""

    outlook: Outlook
    tcp: Floats
    """Rows of (sessions, age)."""
    rest: Floats
    """Rows of (sessions, age at which it may leave, seconds until then)."""
    closing: Floats
    """Rows of (sessions, seconds left at least, at most)."""

    @classmethod
    def of(cls, chain: ChainLives, outlook: Outlook) -> _Crowd:
        tcp: list[tuple[float, ...]] = []
        rest: list[tuple[float, ...]] = []
        closing: list[tuple[float, ...]] = []
        for cell in chain.cells:
            age, idle = outlook._middle(outlook._ages, cell.age), outlook._middle(outlook._idles, cell.idle)
            left = max(0.0, outlook._timeouts.hold(cell.state) - idle)
            if cell.state in _TCP:
                tcp.append((cell.sessions, age))
            elif cell.state == "closing":
                spread = idle - float(outlook._idles[cell.idle])
                closing.append((cell.sessions, max(0.0, left - spread), left + spread))
            else:
                rest.append((cell.sessions, age + left, left))
        return cls(outlook, _rows(tcp, 2), _rows(rest, 3), _rows(closing, 3))

    @cached_property
    def _counts(self) -> Floats:
        return np.concatenate([self.tcp[:, 0], self.rest[:, 0], self.closing[:, 0]])

    @cached_property
    def _closes(self) -> Floats:
        """Of each sort of TCP sessions, the share of those that leave from now on that closes."""
        tcp = self.outlook._tcp
        bins = np.searchsorted(tcp.edges, self.tcp[:, 1], side="right") - 1
        result: Floats = tcp.closes[np.clip(bins, 0, len(tcp.closes) - 1)]
        return result

    def over(self, t: Floats) -> Floats:
        """The probability that a session is over after t seconds: a row for each moment, in it each sort."""
        after = np.asarray(t)[..., None]
        tcp, rest = self.outlook._tcp, self.outlook._rest
        ages, closes = self.tcp[:, 1], self._closes
        _, at, waits = self.rest.T
        _, least, most = self.closing.T
        by_tcp = (1 - closes) * tcp.gone(ages, after) + closes * tcp.gone(ages, after - self.outlook._linger)
        by_rest = rest.gone(at, after - waits)
        by_closing = np.clip((after - least) / np.maximum(most - least, 1e-9), 0.0, 1.0)
        return np.concatenate([by_tcp, by_rest, by_closing], axis=-1)

    def held(self, t: float) -> float:
        return float((self._counts * (1 - self.over(np.array(t)))).sum())

    def quantiles(self, probabilities: Floats) -> Floats:
        """When all are over with these probabilities, in seconds."""
        least, width = np.zeros(len(probabilities)), float(self.outlook._ages[-1])
        if not self.held(0.0):
            return least
        with np.errstate(divide="ignore"):
            for _ in range(_ROUNDS):
                width /= _PARTS
                ends = least[:, None] + width * np.arange(1, _PARTS)
                done = np.exp((self._counts * np.log(self.over(ends))).sum(axis=-1))
                least = least + width * (done < probabilities[:, None]).sum(axis=-1)
        return least + width


def _rows(rows: Sequence[tuple[float, ...]], width: int) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(-1, width)
