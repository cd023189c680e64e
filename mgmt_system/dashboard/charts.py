"""From samples to the options of the charts: the busiest chains one by one, the others as one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from catenary.traffic import ChainTraffic, TrafficSample

Measure = Literal["throughput", "share"]
LINES = 8
"""Chains with a line of their own."""
SPAN = 180.0
"""Seconds of the past that a chart shows."""
COLOURS = ("#4878a8", "#d0743c", "#3f9a7a", "#a6609a", "#b8942a", "#7468b8", "#4aa0bc", "#a8644a")
OTHERS, OTHERS_COLOUR = "others", "#8b9099"


def shown(samples: Sequence[TrafficSample], segment: str | None) -> list[str]:
    """The names of the chains that get a line, in the order in which they came to be.

    Those that carried most in the time that is shown; `segment` None means all segments.
    """
    carried: dict[str, float] = {}
    for sample in _recent(samples):
        for row in _rows(sample, segment):
            carried[row.name] = carried.get(row.name, 0.0) + _bytes(row) + 1e-3 * (row.sessions or 0)
    busiest = set(sorted(carried, key=lambda name: -carried[name])[:LINES])
    return [name for name in carried if name in busiest]


def colours(names: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, COLOURS, strict=False))


def options(
    samples: Sequence[TrafficSample], measure: Measure, names: Sequence[str], segment: str | None
) -> dict[str, Any]:
    """What ECharts draws: stacked areas over time, Mbit/s or % of live sessions."""
    recent = _recent(samples)
    value = _throughput if measure == "throughput" else _share
    lines: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    others: list[tuple[int, float]] = []
    for sample in recent:
        found = _values(sample, segment, value)
        moment = round(sample.at * 1000)
        for name in names:
            lines[name].append((moment, found.pop(name, 0.0)))
        others.append((moment, sum(found.values())))
    if any(rest for _, rest in others):
        lines[OTHERS] = others
    painted = {**colours(names), OTHERS: OTHERS_COLOUR}
    unit = "Mbit/s" if measure == "throughput" else "%"
    return {
        "animation": False,
        "aria": {"enabled": True},
        "grid": {"left": 48, "right": 12, "top": 28, "bottom": 48},
        "legend": {"bottom": 0, "type": "scroll", "icon": "roundRect", "itemWidth": 12, "itemHeight": 8},
        "tooltip": {"trigger": "axis", "confine": True, "className": "tip", "order": "seriesDesc"},
        "xAxis": {"type": "time", "splitNumber": 4, "axisLabel": {"hideOverlap": True}},
        "yAxis": {
            "type": "value",
            "name": unit,
            "nameTextStyle": {"align": "right"},
            **({"splitNumber": 4} if measure == "throughput" else {"max": 100, "interval": 25}),
            "splitLine": {"lineStyle": {"color": "rgba(128,128,128,0.18)"}},
        },
        "series": [
            {
                "name": name,
                "type": "line",
                "stack": "all",
                "showSymbol": False,
                "lineStyle": {"width": 1},
                "areaStyle": {"opacity": 0.75},
                "color": painted[name],
                "data": points,
            }
            for name, points in lines.items()
        ],
    }


def _recent(samples: Sequence[TrafficSample]) -> list[TrafficSample]:
    return [sample for sample in samples if sample.at >= samples[-1].at - SPAN]


def _rows(sample: TrafficSample, segment: str | None) -> list[ChainTraffic]:
    return [row for row in sample.chains if segment in (None, row.segment)]


def _bytes(row: ChainTraffic) -> float:
    return (row.forward or 0.0) + (row.reverse or 0.0)


def _values(
    sample: TrafficSample, segment: str | None, value: Callable[[ChainTraffic], float]
) -> dict[str, float]:
    rows = _rows(sample, segment)
    found = {row.name: value(row) for row in rows}
    if value is _share:
        return _percent(found)
    return {name: round(rate, 3) for name, rate in found.items()}


def _throughput(row: ChainTraffic) -> float:
    """Mbit/s, both ways together."""
    return _bytes(row) * 8e-6


def _share(row: ChainTraffic) -> float:
    return float(row.sessions or 0)


def _percent(sessions: Mapping[str, float]) -> dict[str, float]:
    total = sum(sessions.values())
    return {name: round(100 * number / total, 2) if total else 0.0 for name, number in sessions.items()}
