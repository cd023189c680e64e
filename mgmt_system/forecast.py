"""How long a removed chain will cool down, from what is known of its sessions. Pure.

Sessions come and go as in a steady state: a session that is found alive has as much before it as behind it,
on the average, so the mean age of those found is the mean of what is left to them. Without ages it is what
Little's law says, live sessions over new ones a second. What is left is taken as exponential, and a chain of
n sessions is over when the last of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from catenary.session import Timeouts


@dataclass(frozen=True)
class Load:
    """What is known of a chain: live sessions, new ones a second, ages and idle gaps of some of them (s)."""

    sessions: int
    arrivals: float | None = None
    ages: Sequence[float] = ()
    idle: Sequence[float] = ()

    @property
    def mean_left(self) -> float | None:
        """Seconds that a live session goes on for, on the average; None if nothing says so."""
        if self.ages:
            return sum(self.ages) / len(self.ages)
        return self.sessions / self.arrivals if self.arrivals else None


@dataclass(frozen=True)
class Forecast:
    """Seconds from the removal to the end of the cool-down; None is unknown."""

    earliest: float
    p50: float | None
    p95: float | None


def forecast(load: Load, timeouts: Timeouts) -> Forecast:
    """The cool-down of a chain that takes no new session from now on."""
    proof = 2 * timeouts.transit
    if not load.sessions:
        return Forecast(proof, proof, proof)
    shortest = timeouts.tcp_closing + timeouts.lease + timeouts.transit
    silent = max((shortest - idle for idle in load.idle), default=shortest)
    earliest = max(0.0, silent) + proof
    mean = load.mean_left
    if mean is None:
        return Forecast(earliest, None, None)
    p50, p95 = (max(earliest, _last_of(load.sessions, mean, q) + proof) for q in (0.5, 0.95))
    return Forecast(earliest, p50, p95)


def _last_of(sessions: int, mean: float, probability: float) -> float:
    """When the last of so many has ended with this probability: the quantile of their maximum."""
    return -mean * log(1 - probability ** (1 / sessions))


def cut(load: Load, deadline: float) -> float | None:
    """Sessions that are expected to be alive still after `deadline` seconds; None is unknown."""
    if not load.sessions or deadline <= 0:
        return float(load.sessions)
    mean = load.mean_left
    if mean is None:
        return None
    return load.sessions * exp(-deadline / mean) if mean else 0.0
