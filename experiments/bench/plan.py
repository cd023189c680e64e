"""How much is measured, and the form of what a part of the benchmark gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from experiments.part import Say
from experiments.summary import Claim, Figure


@dataclass(frozen=True)
class Plan:
    """`rounds`: interleaved runs of everything. Times in seconds."""

    rounds: int
    seconds: int
    probe_seconds: int
    """Each setting of a peer is tried for that long; 0 takes the first setting without trying."""
    ask_sessions: int
    chains: int
    changes: int
    swap_seconds: float
    million: int
    """Sessions of the figures that are about a million of them."""
    sessions: int
    """Of the experiment with a table of 4 million."""
    traffic_seconds: float
    """Of the heavy-tailed sessions, for each policy and round."""


FULL = Plan(
    rounds=5,
    seconds=3,
    probe_seconds=1,
    ask_sessions=2000,
    chains=256,
    changes=20,
    swap_seconds=10.0,
    million=1_000_000,
    sessions=4_000_000,
    traffic_seconds=12.0,
)
QUICK = Plan(
    rounds=1,
    seconds=1,
    probe_seconds=0,
    ask_sessions=50,
    chains=8,
    changes=2,
    swap_seconds=0.3,
    million=50_000,
    sessions=50_000,
    traffic_seconds=1.0,
)


@dataclass(frozen=True)
class Result:
    """What a part found.

    `figures` go into the summary; `ratios` of them, and what else is checked, only into claims.json. `claims`
    are about either. `runs` are all single values by key, `settings` the commands by peer.
    """

    figures: Mapping[str, Figure]
    ratios: Mapping[str, Figure] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    runs: Mapping[str, Sequence[float]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


Part = Callable[[Plan, Say], Result]


def figure(values: Sequence[float], unit: str, digits: int = 2) -> Figure:
    """The median, with the extremes beside the unit; no value where there was no run."""
    if not values:
        return Figure(None, unit)
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return Figure(round(float(median(values)), digits), f"{unit} (min {low}, max {high})")


def quotient(above: Figure, below: Figure) -> Figure:
    """Without a value if either has none."""
    if above.value is None or not below.value:
        return Figure(None, "")
    return Figure(round(above.value / below.value, 3), "")
