"""From samples to figures: the paper's criteria as functions. Pure: arrays in, numbers out.

Times are seconds on one clock (the taps'), throughputs Mbit/s on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from experiments.demo.story import STORY, Plan, active_after
from experiments.summary import Claim, Figure

Array = npt.NDArray[np.float64]

TOLERANCE = 0.10
"""The paper's error bars: chains are balanced while all are within 10 % of their mean."""
WINDOW_S = 1.0
STEP_S = 0.1
HOLD_S = 5.0
"""How long balance must last to count: later dips are the traffic's, not the change's."""


@dataclass(frozen=True)
class Series:
    """What came out of each chain's NF so far: `octets` is cumulative, (samples x chains)."""

    chains: tuple[str, ...]
    times: Array
    octets: Array

    def throughput(self, at: Array, window: float = WINDOW_S) -> Array:
        """Mbit/s of each chain in the window that ends at each moment of `at`: (moments x chains)."""
        columns = [
            np.interp(at, self.times, column) - np.interp(at - window, self.times, column)
            for column in self.octets.T
        ]
        return np.stack(columns, axis=1) * 8e-6 / window

    def mean(self, since: float, until: float, chains: Sequence[str] | None = None) -> float:
        """Mbit/s of these chains together, or of all, in [since, until)."""
        (rates,) = self.throughput(np.array([until]), until - since)
        return float(sum(rates[self.column(chain)] for chain in chains or self.chains))

    def column(self, chain: str) -> int:
        return self.chains.index(chain)


def rebalanced_after(
    series: Series, active: Sequence[str], since: float, until: float, cooling: Sequence[str] = ()
) -> float | None:
    """Seconds from `since` until the throughput of all `active` chains stays within 10 % of mean.

    "Stays" is for 5 s, or until `until`; each moment is judged by the 1 s window that ends there. A `cooling`
    chain must also have fallen so far that its 10 % bar overlaps none of theirs (paper, section IV-A).
    None when that does not happen.
    """
    moments = np.arange(since + STEP_S, until, STEP_S)
    rates = series.throughput(moments)
    mine = rates[:, [series.column(chain) for chain in active]]
    mean = mine.mean(axis=1)
    good = (mean > 0) & (np.abs(mine - mean[:, None]) <= TOLERANCE * mean[:, None]).all(axis=1)
    for chain in cooling:
        theirs = rates[:, series.column(chain)]
        good &= theirs * (1 + TOLERANCE) < mine.min(axis=1) * (1 - TOLERANCE)
    hold = round(HOLD_S / STEP_S)
    for first in np.flatnonzero(good):
        if good[first : first + hold].all():
            return float(moments[first] - since)
    return None


@dataclass(frozen=True)
class Judgement:
    """What the witness found, as plain numbers. `across` and `min_share` have one entry a phase."""

    sessions: int
    server_opened: int
    violations: int
    bypassed: int
    dropped: int
    across: tuple[int, ...]
    shares: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Observations:
    """Everything that the run noted. `requests`: moments of the steps; `end`: of the last phase."""

    series: Series
    requests: tuple[float, ...]
    end: float
    drained_s: Mapping[str, float]
    latencies_s: tuple[float, ...]
    failed_requests: int
    sessions_cut: int
    leftovers: int
    judgement: Judgement


def figures(seen: Observations, plan: Plan) -> dict[str, Figure]:
    """All figures of the demo, in the order in which they are shown."""
    judged = seen.judgement
    found = {
        "sessions": Figure(judged.sessions, "sessions"),
        "server_opened": Figure(judged.server_opened, "sessions"),
        "min_sessions_across_change": Figure(min(judged.across, default=None), "sessions"),
        "violations": Figure(judged.violations, "sessions"),
        "bypassed": Figure(judged.bypassed, "sessions"),
        "witness_dropped": Figure(judged.dropped, "packets"),
        "failed_requests": Figure(seen.failed_requests, "requests"),
        "sessions_cut": Figure(seen.sessions_cut, "sessions"),
        "min_share": Figure(_percent(min(min(s.values()) for s in judged.shares)), "%"),
    }
    found |= _throughputs(seen, plan)
    found |= _balance(seen)
    drained = {step.chain: seen.drained_s.get(step.chain) for step in STORY if step.verb == "remove"}
    found["drained_s"] = Figure(slowest_of(list(drained.values())), "s")
    found |= {f"drained_{chain}_s": Figure(slowest_of([value]), "s") for chain, value in drained.items()}
    found["add_latency_ms"] = Figure(_rounded(1000 * median(seen.latencies_s), 1), "ms")
    found["leftovers"] = Figure(seen.leftovers, "rules, tags, pins, processes, links")
    return found


_TIMES = (
    Claim("rebalance_s", at_most=3),
    Claim("rebalance_down_s", at_most=5),
    Claim("add_latency_ms", at_most=300),
)


def claims(plan: Plan) -> tuple[Claim, ...]:
    """What the demo holds its figures to."""
    none = ("violations", "bypassed", "witness_dropped", "failed_requests", "sessions_cut", "leftovers")
    return (
        Claim("sessions", at_least=plan.min_sessions),
        Claim("server_opened", at_least=plan.min_server_opened),
        Claim("min_sessions_across_change", at_least=100),
        *(Claim(key, at_least=0, at_most=0) for key in none),
        Claim("min_share", at_least=plan.min_share),
        Claim("ratio_2_1", at_least=1.6),
        Claim("ratio_3_1", at_least=2.2),
        *(_TIMES if plan.timed else ()),
        Claim("drained_s", at_most=60),
    )


def phases(seen: Observations) -> list[tuple[float, float]]:
    """(begin, end) of each phase: a step's request until the next one's."""
    return list(zip(seen.requests, (*seen.requests[1:], seen.end), strict=True))


def _throughputs(seen: Observations, plan: Plan) -> dict[str, Figure]:
    """Means of each phase but its begin, as in the paper's intervals."""
    keys = ("throughput_1", "throughput_2", "throughput_3", "throughput_back_2", "throughput_back_1")
    paper = (148, 247, 277, 244, 152)
    means = [seen.series.mean(begin + plan.settle_s, end) for begin, end in phases(seen)]
    found = {
        key: Figure(_rounded(mean, 1), "Mbit/s", was)
        for key, mean, was in zip(keys, means, paper, strict=True)
    }
    one, two, three = means[:3]
    found["ratio_2_1"] = Figure(_rounded(two / one) if one else None, "", 1.67)
    found["ratio_3_1"] = Figure(_rounded(three / one) if one else None, "", 1.87)
    return found


def _balance(seen: Observations) -> dict[str, Figure]:
    """The slowest add, and the slowest remove."""
    slowest: dict[str, list[float | None]] = {"add": [], "remove": []}
    for number, (step, (begin, end)) in enumerate(zip(STORY, phases(seen), strict=True)):
        if number == 0:
            continue  # one chain alone is always balanced
        cooling = (step.chain,) if step.verb == "remove" else ()
        active = active_after(number + 1)
        slowest[step.verb].append(rebalanced_after(seen.series, active, begin, end, cooling))
    return {
        "rebalance_s": Figure(slowest_of(slowest["add"]), "s", 3),
        "rebalance_down_s": Figure(slowest_of(slowest["remove"]), "s", 4),
    }


def slowest_of(values: Sequence[float | None]) -> float | None:
    """The largest; None if one is missing."""
    known = [value for value in values if value is not None]
    return _rounded(max(known)) if len(known) == len(values) else None


def _percent(share: float) -> float:
    return _rounded(100 * share, 1)


def _rounded(value: float, digits: int = 2) -> float:
    return round(float(value), digits)
