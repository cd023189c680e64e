"""Numbers as people read them, the same in terminal and browser. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from catenary.chain import ChainState
from catenary.traffic import ChainTraffic, CoolDownProgress, TrafficSample

UNKNOWN = "-"
_BITS = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")


def count(value: float | None) -> str:
    """`1,234`."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def per_second(value: float | None) -> str:
    """`4.2`, `120`: without its unit."""
    if value is None:
        return UNKNOWN
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"


def share(value: float | None) -> str:
    """`33 %`."""
    return UNKNOWN if value is None else f"{value:.0%}".replace("%", " %")


def bits(value: float | None) -> str:
    """Bytes a second as `38.2 Mbit/s`."""
    if value is None:
        return UNKNOWN
    rate, unit = value * 8, 0
    while rate >= 1000 and unit < len(_BITS) - 1:
        rate, unit = rate / 1000, unit + 1
    return f"{rate:.0f} {_BITS[unit]}" if unit == 0 else f"{rate:.1f} {_BITS[unit]}"


def seconds(value: float | None) -> str:
    """`12 s`, `3 min 5 s`, `2 h 4 min`, `3 d 1 h`."""
    if value is None:
        return UNKNOWN
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 172800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def state(row: ChainTraffic) -> str:
    return "cordoned" if row.cordoned and row.state is ChainState.ACTIVE else row.state.value


@dataclass(frozen=True)
class Totals:
    """All chains of a sample together; what is unknown of one is left out."""

    chains: int
    cooling: int
    sessions: int
    new: float
    forward: float
    reverse: float


def totals(rows: Iterable[ChainTraffic]) -> Totals:
    rows = list(rows)
    return Totals(
        chains=len(rows),
        cooling=sum(row.state is ChainState.COOLING for row in rows),
        sessions=sum(row.sessions or 0 for row in rows),
        new=sum(row.new or 0.0 for row in rows),
        forward=sum(row.forward or 0.0 for row in rows),
        reverse=sum(row.reverse or 0.0 for row in rows),
    )


def states(sample: TrafficSample) -> dict[str, int]:
    """Live sessions of all segments by state, in the order in which they were told."""
    found: dict[str, int] = {}
    for segment in sample.segments:
        for name, number in segment.states.items():
            found[name] = found.get(name, 0) + number
    return found


def busiest(rows: Iterable[ChainTraffic]) -> list[ChainTraffic]:
    """Those with most sessions first; of as many, by name."""
    return sorted(rows, key=lambda row: (-(row.sessions or 0), row.segment, row.name))


@dataclass(frozen=True)
class Progress:
    """A cool-down at a moment: `elapsed` s, `done` 0..1 of what was predicted (p95), and in words."""

    elapsed: float
    done: float | None
    text: str


def progress(item: CoolDownProgress, now: float) -> Progress:
    elapsed = item.ended if item.ended is not None else max(0.0, now - item.began)
    if item.p50 is None or item.p95 is None:
        predicted = "no prediction: too little was known"
    elif round(item.p50) == round(item.p95):
        predicted = f"predicted {seconds(item.p50)}"
    else:
        predicted = f"predicted {seconds(item.p50)} to {seconds(item.p95)}"
    if item.ended is not None:
        return Progress(elapsed, 1.0, f"took {seconds(elapsed)}, {predicted}")
    done = min(1.0, elapsed / item.p95) if item.p95 else None
    return Progress(elapsed, done, f"{seconds(elapsed)} so far, {predicted}")
