"""What one way of balancing showed, and the figures of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from experiments.demo.figures import Series, rebalanced_after
from experiments.evaluation.promises import LEAST_SHARE, MAX_LOSS_PERCENT
from experiments.evaluation.repeat import Shown, none_of
from experiments.peers.balancing import CHAINS, Chain

SETTLE = 0.4
"""How much of a phase's begin is left out of its mean throughput: chains fill or cool down."""


@dataclass(frozen=True)
class Step:
    """From now on these chains take new sessions. `paper`: throughput then, Mbit/s."""

    key: str
    text: str
    chains: tuple[Chain, ...]
    paper: float


_ONE, _TWO, _THREE = CHAINS
STEPS = (
    Step("1", "chain-n1 alone", (_ONE,), 148),
    Step("2", "add chain-n2", (_ONE, _TWO), 247),
    Step("3", "add chain-n3", (_ONE, _TWO, _THREE), 277),
    Step("back_2", "remove chain-n2", (_ONE, _THREE), 244),
    Step("back_1", "remove chain-n3", (_ONE,), 152),
)
"""The paper's warm-up and its cool-down in one."""


@dataclass(frozen=True)
class Outcome:
    """One run of the steps. `moments`: of each step (s, monotonic), and of the end.

    Sessions are what the witness saw: `broken` ones have packets at the NFs of two chains, or past all of
    them; `across` of them lived on both sides of each change. Clients did not get an answer to `failed` of
    their `requests` in time. Of `attacks` that were answered, `missed` had no alert from any
    NF; None if these tell of nothing. `lost` in a load balancer is in per cent, `least_share` of an even
    share of new sessions. `reasons` are lines for people.
    """

    series: Series
    moments: tuple[float, ...]
    sessions: int
    broken: int
    across: tuple[int, ...]
    requests: int
    failed: int
    witness_dropped: int
    lost: float
    least_share: float
    attacks: int
    missed: int | None
    reasons: tuple[str, ...] = ()

    @property
    def phases(self) -> list[tuple[float, float]]:
        """(begin, end) of each step."""
        return list(pairwise(self.moments))


def shown(peer: str, *, crosses: bool | None, alerts: bool) -> list[Shown]:
    """The figures of a peer, by keys that begin with its name, and what is claimed of them.

    `crosses`: that it breaks sessions, that it does not (and nothing else either), or nothing. `alerts`: the
    NFs tell of attacks.
    """
    none = crosses is False
    broken = Shown("broken", "sessions that crossed", at_least=1 if crosses else None, worst=max)
    failed, missed = Shown("failed", "requests", worst=max), Shown("missed", "attacks", worst=max)
    found = [
        Shown("sessions", "sessions", at_least=1),
        none_of("broken", "sessions that crossed") if none else broken,
        none_of("failed", "requests") if none else failed,
        *([none_of("missed", "attacks") if none else missed] if alerts else []),
        *([Shown("attacks", "attacks answered", at_least=1)] if alerts else []),
        Shown("across", "sessions across a change, at least", at_least=1),
        Shown("rebalance_s", "s, the slowest add", 3),
        Shown("rebalance_down_s", "s, the slowest remove", 4),
        *(Shown(f"throughput_{step.key}", "Mbit/s", step.paper) for step in STEPS),
        none_of("witness_dropped", "packets"),
        Shown("lost", "% in a load balancer", at_most=MAX_LOSS_PERCENT if none else None, worst=max),
        Shown("least_share", "of an even share", at_least=LEAST_SHARE if none else None, worst=min),
    ]
    return [replace(item, key=f"{peer}_{item.key}") for item in found]


def figures(peer: str, seen: Outcome) -> dict[str, float | None]:
    """Their values."""
    found: dict[str, float | None] = {
        "sessions": seen.sessions,
        "broken": seen.broken,
        "failed": seen.failed,
        "missed": seen.missed,
        "attacks": seen.attacks,
        "across": min(seen.across),
        "rebalance_s": slowest_rebalance(seen, adds=True),
        "rebalance_down_s": slowest_rebalance(seen, adds=False),
        "witness_dropped": seen.witness_dropped,
        "lost": seen.lost,
        "least_share": seen.least_share,
    }
    for step, (begin, end) in zip(STEPS, seen.phases, strict=True):
        found[f"throughput_{step.key}"] = seen.series.mean(begin + SETTLE * (end - begin), end)
    return {f"{peer}_{key}": value for key, value in found.items()}


def slowest_rebalance(seen: Outcome, *, adds: bool) -> float | None:
    """Seconds of the slowest add, or remove, by the paper's 10 % rule; None if one was not balanced."""
    grows = [len(after.chains) > len(before.chains) for before, after in pairwise(STEPS)]
    times = [seconds for seconds, more in zip(rebalances(seen), grows, strict=True) if more is adds]
    known = [seconds for seconds in times if seconds is not None]
    return max(known) if len(known) == len(times) else None


def rebalances(seen: Outcome) -> Sequence[float | None]:
    """Of each step but the first: one chain alone is always balanced."""
    found = []
    for (before, after), (begin, end) in zip(pairwise(STEPS), seen.phases[1:], strict=True):
        cooling = [chain.name for chain in before.chains if chain not in after.chains]
        active = [chain.name for chain in after.chains]
        found.append(rebalanced_after(seen.series, active, begin, end, cooling))
    return found
