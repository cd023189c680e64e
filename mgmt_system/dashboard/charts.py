"""From points to the options of the charts: the busiest chains one by one, the others as one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mgmt_system.watching import Point

Measure = Literal["throughput", "share"]
LINES = 8
"""Chains with a line of their own."""
SPAN = 180.0
"""Seconds of the past that a chart shows."""
LAST = 10
"""Points that tell which chains are the busiest."""
COLOURS = ("#4878a8", "#d0743c", "#3f9a7a", "#a6609a", "#b8942a", "#7468b8", "#4aa0bc", "#a8644a")
OTHERS, OTHERS_COLOUR = "others", "#8b9099"


def shown(past: Sequence[Point], segment: str | None) -> list[str]:
    """The names of the chains that get a line, in the order in which they came to be.

    Those that carry most, by the last moments; `segment` None means all segments.
    """
    carried: dict[str, float] = {}
    for point in past[-LAST:]:
        for name, (where, rate, sessions) in point.chains.items():
            if segment in (None, where):
                carried[name] = carried.get(name, 0.0) + rate + 1e-3 * sessions
    busiest = set(sorted(carried, key=lambda name: -carried[name])[:LINES])
    return [name for name in carried if name in busiest]


def colours(names: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, COLOURS, strict=False))


def options(
    past: Sequence[Point], measure: Measure, names: Sequence[str], segment: str | None
) -> dict[str, Any]:
    """What ECharts draws: stacked areas over time, Mbit/s or % of live sessions."""
    lines: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    others: list[tuple[int, float]] = []
    value = _throughput if measure == "throughput" else _share
    for point in past:
        if point.at < past[-1].at - SPAN:
            continue
        moment, total = round(point.at * 1000), point.totals.get(segment, (0.0, 0))
        rate, sessions = total
        for name in names:
            _, one_rate, one_sessions = point.chains.get(name, ("", 0.0, 0))
            lines[name].append((moment, value(one_rate, one_sessions, total)))
            rate, sessions = rate - one_rate, sessions - one_sessions
        others.append((moment, max(0.0, value(rate, sessions, total))))
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


def _throughput(rate: float, _sessions: int, _total: tuple[float, int]) -> float:
    """Mbit/s of bytes a second."""
    return round(rate * 8e-6, 3)


def _share(_rate: float, sessions: int, total: tuple[float, int]) -> float:
    """% of all live sessions."""
    return round(100 * sessions / total[1], 2) if total[1] else 0.0
