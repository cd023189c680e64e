"""From what masters count to what chains carry: rates, shares, cool-downs beside their prediction. Pure."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from catenary import wire
from catenary.chain import ChainState
from catenary.session import Timeouts
from catenary.tags import TagPair
from catenary.traffic import ChainTraffic, CoolDownProgress, SegmentTraffic, TrafficSample

ENDED_SHOWN = 60.0
"""Seconds for which a cool-down that is over is told with the others."""


@dataclass(frozen=True)
class Heard:
    """Statistics of a master, and when they came: s of a clock that only measures."""

    at: float
    stats: wire.BalancerStats

    @property
    def pairs(self) -> dict[TagPair, wire.PairStats]:
        return {TagPair(pair.forward, pair.reverse): pair for pair in self.stats.pairs}


class Sampler:
    """Makes samples, and keeps what the next one needs: what was heard last, and the cool-downs."""

    def __init__(self) -> None:
        self._heard: dict[str, Heard] = {}
        self._active: dict[str, int] = {}
        self._cooling: dict[str, CoolDownProgress] = {}

    def sample(
        self,
        at: float,
        chains: Collection[wire.ChainView],
        heard: Mapping[str, Heard],
        timeouts: Mapping[str, Timeouts],
    ) -> TrafficSample:
        """The chains at the moment `at`: `heard` is what the masters said just then, by segment.

        `timeouts` has all segments.
        """
        rows = []
        pairs = {name: one.pairs for name, one in heard.items()}
        before = {name: one.pairs for name, one in self._heard.items()}
        totals = {name: sum(pair.sessions for pair in found.values()) for name, found in pairs.items()}
        for chain in chains:
            tags, name = chain.tags.pair(), chain.segment
            now = None if chain.state is ChainState.FAILED else pairs.get(name, {}).get(tags)
            row = ChainTraffic(name=chain.name, segment=name, state=chain.state, cordoned=chain.cordoned)
            if now is not None:
                told = {}
                if name in self._heard:
                    seconds = heard[name].at - self._heard[name].at
                    told = rates(before[name].get(tags), now, seconds)
                share = now.sessions / totals[name] if totals[name] else None
                known = {"sessions": now.sessions, "share": share, "health": now.health}
                row = row.model_copy(update=known | told)
            rows.append(row)
            self._follow(chain, now)
        self._forget(at, {chain.name: chain.state for chain in chains})
        self._heard.update(heard)
        segments = [_segment(name, heard.get(name)) for name in timeouts]
        return TrafficSample(at=at, segments=segments, chains=rows, cooling=list(self._cooling.values()))

    def _follow(self, chain: wire.ChainView, now: wire.PairStats | None) -> None:
        if chain.state is ChainState.ACTIVE and now is not None:
            self._active[chain.name] = now.sessions
        if chain.state is not ChainState.COOLING:
            return
        left = now.sessions if now is not None else None
        known = self._cooling.get(chain.name)
        if known is not None and known.began == chain.changed:
            if left is not None:
                self._cooling[chain.name] = known.model_copy(update={"left": left})
            return
        self._cooling[chain.name] = CoolDownProgress(
            chain=chain.name,
            segment=chain.segment,
            began=chain.changed,
            sessions=self._active.get(chain.name, left),
            left=left,
            p50=chain.p50,
            p95=chain.p95,
        )

    def _forget(self, at: float, states: Mapping[str, ChainState]) -> None:
        """A cool-down that is over stays for a while; what is known of chains that are gone does not."""
        self._active = {name: sessions for name, sessions in self._active.items() if name in states}
        for name, known in list(self._cooling.items()):
            if known.ended is None and states.get(name) is not ChainState.COOLING:
                self._cooling[name] = known.model_copy(update={"ended": at - known.began, "left": 0})
            told = known.ended is not None and at - known.began - known.ended > ENDED_SHOWN
            taken_back = states.get(name) is ChainState.ACTIVE
            if told or taken_back:
                del self._cooling[name]


def _segment(name: str, heard: Heard | None) -> SegmentTraffic:
    if heard is None:
        return SegmentTraffic(name=name)
    stats = heard.stats
    return SegmentTraffic(
        name=name,
        states=stats.states,
        pins=stats.pins,
        capacity=stats.capacity,
        overflow=stats.overflow,
    )


def rates(before: wire.PairStats | None, now: wire.PairStats, seconds: float) -> dict[str, float]:
    """A second. Counters that went back, or that were not there, have begun anew."""
    counters = {"new": "new_sessions", "forward": "forward_bytes", "reverse": "reverse_bytes"}
    if seconds <= 0:
        return {}
    if before is None or any(getattr(now, name) < getattr(before, name) for name in counters.values()):
        return {rate: getattr(now, name) / seconds for rate, name in counters.items()}
    return {rate: (getattr(now, name) - getattr(before, name)) / seconds for rate, name in counters.items()}


class Ring:
    """The last `count` samples as JSON, compressed, in no more than `size` bytes."""

    def __init__(self, count: int = 600, size: int = 16_000_000) -> None:
        self._count = count
        self._size = size
        self._kept = 0
        self._rows: deque[tuple[float, bytes]] = deque()

    def put(self, at: float, sample: bytes) -> None:
        """Keep a sample; the oldest go. Moments must grow."""
        packed = zlib.compress(sample, 1)
        self._rows.append((at, packed))
        self._kept += len(packed)
        while len(self._rows) > self._count or (self._kept > self._size and len(self._rows) > 1):
            self._kept -= len(self._rows.popleft()[1])

    def since(self, at: float | None, limit: int) -> list[bytes]:
        """The first `limit` samples later than `at`, oldest first; the last one alone if it is None."""
        rows = list(self._rows)
        chosen = rows[-1:] if at is None else [row for row in rows if row[0] > at][:limit]
        return [zlib.decompress(packed) for _, packed in chosen]
