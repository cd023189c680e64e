"""Experiments in which chains come and go under load (paper, section IV-A, Figs. 5 to 8).

Sizes follow from one parameter, the capacity of an NF: as in the paper, what h1's httperf offers is 450/162
of it, in sessions of one size that begin at a constant rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from pydantic import Field

from experiments.demo.figures import STEP_S, rebalanced_after
from experiments.evaluation import pictures
from experiments.evaluation.experiment import Evaluation, Setting
from experiments.evaluation.parameters import Parameters
from experiments.evaluation.play import Offered, Played, Schedule, Step, chain_of, play
from experiments.evaluation.preflight import TESTBED, command
from experiments.evaluation.repeat import Once, Shown, none_of

PAPER_SECONDS = 8000 / 75
"""How long the paper's httperf begins sessions: 8000 of them, 75 a second."""
MAX_LOSS_PERCENT = 0.5
"""Of bytes or packets between two taps; an NF that is overloaded drops inside."""


class Load(Parameters):
    """`capacity_mbit` of each NF (each direction); `overload`: what is offered over that; sizes follow.

    The time axis is the paper's times `time_scale`; `sessions` and `injections` are those of a whole run.
    """

    capacity_mbit: float = Field(gt=0, le=1000)
    overload: float = Field(gt=0, le=10)
    time_scale: float = Field(gt=0, le=1)
    sessions: int = Field(ge=10, le=100_000)
    injections: int = Field(ge=0, le=100_000)
    injections_every: float = Field(gt=0, le=60)

    @property
    def rate(self) -> float:
        """Sessions begun a second."""
        return self.sessions / (PAPER_SECONDS * self.time_scale)

    def offered(self) -> Offered:
        batches = PAPER_SECONDS * self.time_scale / self.injections_every
        return Offered(
            rate=round(self.rate, 3),
            sessions=self.sessions,
            size=round(self.overload * self.capacity_mbit * 1e6 / 8 / self.rate),
            injections=self.injections,
            batch=max(round(self.injections / batches), 1),
            every=self.injections_every,
        )


@dataclass(frozen=True)
class Phase:
    """From `at` on these NFs are active; the mean is taken over [`since`, `until`] (s of the paper's axis).

    `paper`: its throughput there, Mbit/s.
    """

    key: str
    at: float
    nfs: tuple[str, ...]
    since: float
    until: float
    paper: float | None = None


@dataclass(frozen=True)
class Scaled:
    """A story of phases. `ratios`: key -> (phase, phase over which it is, least); `rebalance_s` at most."""

    phases: tuple[Phase, ...]
    end: float
    ratios: dict[str, tuple[str, str, float]]
    rebalance_at_most: float | None = None
    rebalance_paper: float | None = None

    def schedule(self, scale: float) -> Schedule:
        return Schedule(tuple(Step(phase.at * scale, phase.nfs) for phase in self.phases), self.end * scale)


def evaluation(name: str, about: str, story: Scaled) -> Evaluation[Load]:
    """The experiment that plays a story."""
    return Evaluation(
        name=name,
        about=about,
        kind=Load,
        shown=partial(_shown, story),
        once=partial(_once, story),
        plot=partial(pictures.scaling, story.schedule, title=about),
        needs=lambda _: (*TESTBED, command("curl", "curl")),
    )


def _shown(story: Scaled, _parameters: Load) -> list[Shown]:
    papers = {phase.key: phase.paper for phase in story.phases}
    found = [Shown(f"throughput_{p.key}", "Mbit/s", p.paper, at_least=0.1, steady=True) for p in story.phases]
    for key, (above, below, least) in story.ratios.items():
        over, under = papers[above], papers[below]
        paper = round(over / under, 2) if over and under else None
        found.append(Shown(f"ratio_{key}", "", paper, at_least=least, steady=True))
    if story.rebalance_at_most is not None:
        found.append(
            Shown(
                "rebalance_s", "s, the slowest change", story.rebalance_paper, at_most=story.rebalance_at_most
            )
        )
    return [*found, *kept_promises()]


def kept_promises() -> list[Shown]:
    """What every run with traffic through the load balancers is held to."""
    return [
        Shown("sessions", "sessions", at_least=1),
        none_of("violations", "sessions"),
        none_of("bypassed", "sessions"),
        none_of("witness_dropped", "packets"),
        Shown("lost", "% between two taps", at_most=MAX_LOSS_PERCENT, worst=True),
        Shown("least_share", "of an even share of new sessions", at_least=0.5),
        none_of("unanswered", "injections"),
    ]


def promises(
    played: Played, among: Sequence[tuple[float, float, tuple[str, ...]]]
) -> dict[str, float | None]:
    """Their figures; `among`: (since, until, chains that take new sessions then)."""
    verdict = played.verdict
    told = played.injections
    return {
        "sessions": verdict.sessions,
        "violations": len(verdict.violations),
        "bypassed": len(verdict.bypassed),
        "witness_dropped": verdict.witness_dropped,
        "lost": 100 * verdict.loss_share,
        "least_share": min(
            min(verdict.shares(_ns(since), _ns(until), among=chains).values()) * len(chains)
            for since, until, chains in among
        ),
        "unanswered": 0 if told is None else told.sent - told.answered,
    }


def _once(story: Scaled, setting: Setting[Load]) -> Once:
    chosen = setting.parameters
    scale = chosen.time_scale
    offered = chosen.offered()
    setting.say(
        f"{offered.sessions} sessions of {offered.size / 1000:.0f} kB at {offered.rate:g}/s, "
        f"{offered.injections} injections; each NF carries {chosen.capacity_mbit:g} Mbit/s"
    )
    played = play(
        story.schedule(scale),
        offered,
        capacity_mbit=chosen.capacity_mbit,
        seed=setting.seed,
        sabotage=setting.sabotage,
        say=setting.say,
    )
    begun = played.moments[0]
    figures: dict[str, float | None] = {}
    for phase in story.phases:
        # What is left out after a change is not compressed: that takes as long as it takes.
        since = (
            begun + (phase.at + max(phase.since - phase.at, 0) * (1 if phase.at else scale) / scale) * scale
        )
        figures[f"throughput_{phase.key}"] = played.series.mean(since, begun + phase.until * scale)
    for key, (above, below, _) in story.ratios.items():
        over, under = (figures[f"throughput_{name}"] or 0 for name in (above, below))
        figures[f"ratio_{key}"] = over / under if under else None
    if story.rebalance_at_most is not None:
        figures["rebalance_s"] = _slowest(story, played)
    spans = _spans(story, played)
    details = (*map(str, played.verdict.violations[:3]), *map(str, played.verdict.bypassed[:3]))
    return Once(figures | promises(played, spans), {"throughput": _table(played)}, details)


def _spans(story: Scaled, played: Played) -> list[tuple[float, float, tuple[str, ...]]]:
    ends = (*played.moments[1:], played.end)
    chains = [tuple(map(chain_of, phase.nfs)) for phase in story.phases]
    return list(zip(played.moments, ends, chains, strict=True))


def _slowest(story: Scaled, played: Played) -> float | None:
    """Seconds until balance, of the slowest change; None if one never came to it."""
    spans = _spans(story, played)
    found = []
    for (_, _, before), (since, until, active) in pairwise(spans):
        cooling = [chain for chain in before if chain not in active]
        found.append(rebalanced_after(played.series, active, since, until, cooling))
    known = [seconds for seconds in found if seconds is not None]
    return max(known) if len(known) == len(found) else None


def _table(played: Played) -> dict[str, pictures.Column]:
    """Mbit/s of each chain in the 1 s window that ends at each moment, s from the begin."""
    begun = played.moments[0]
    moments = np.arange(begun + 1.0, played.end, 2.5 * STEP_S)
    rates = played.series.throughput(moments)
    return {"time_s": moments - begun, **dict(zip(played.series.chains, rates.T, strict=True))}


def _ns(moment: float) -> int:
    return int(moment * 1e9)
