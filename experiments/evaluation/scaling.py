"""Experiments in which chains come and go under load (paper, section IV-A, Figs. 7 and 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from experiments.demo.figures import rebalanced_after, slowest_of
from experiments.evaluation import promises, ratios
from experiments.evaluation.experiment import Evaluation, Plot, Setting
from experiments.evaluation.load import Load, PaperLoad
from experiments.evaluation.play import TESTBED, Played, Schedule, Site, Step, chain_of, play, series_table
from experiments.evaluation.preflight import TRAFFIC, nf
from experiments.evaluation.promises import Span
from experiments.evaluation.ratios import Ratio
from experiments.evaluation.repeat import Once, Shown, Table

LOAD = PaperLoad(injections=10_000, batch=94)
_SETTLES = 0.4
"""At most this share of a phase is left out of its mean."""


@dataclass(frozen=True)
class Phase:
    """From `at` on (s of the paper's axis) these NFs' chains are active. Its mean begins `settle` s later,
    not shortened: balance takes as long on a short axis. `paper`: its throughput there, Mbit/s."""

    key: str
    at: float
    nfs: tuple[str, ...]
    settle: float
    paper: float | None = None

    def mean_from(self, since: float, until: float) -> float:
        """When its mean begins, if it lasts from `since` to `until` (s)."""
        return since + min(self.settle, _SETTLES * (until - since))


@dataclass(frozen=True)
class Story:
    """`ratios` are of phases. `rebalance_at_most`: s, of the first change, which the paper shows closely.

    Without `old_end` all is told of the chains of a phase alone: those that went may keep sessions longer.
    """

    phases: tuple[Phase, ...]
    end: float
    ratios: Mapping[str, Ratio]
    rebalance_at_most: float | None = None
    rebalance_paper: float | None = None
    old_end: bool = True
    site: Site = TESTBED

    def schedule(self, scale: float) -> Schedule:
        return Schedule(tuple(Step(phase.at * scale, phase.nfs) for phase in self.phases), self.end * scale)


def evaluation(name: str, about: str, story: Story, plot: Plot[Load]) -> Evaluation[Load]:
    """The experiment that plays a story."""
    return Evaluation(
        name=name,
        about=about,
        kind=Load,
        shown=partial(_shown, story),
        once=partial(_once, story),
        plot=plot,
        needs=lambda chosen: (*TRAFFIC, nf(chosen.nf), *chosen.needs((LOAD, 3))),
    )


def _shown(story: Story, _chosen: Load) -> list[Shown]:
    papers = {phase.key: phase.paper for phase in story.phases}
    found = [Shown(f"throughput_{phase.key}", "Mbit/s", phase.paper, steady=True) for phase in story.phases]
    found += ratios.shown(story.ratios, papers)
    balance = [
        Shown("rebalance_s", "s, the first change", story.rebalance_paper, at_most=story.rebalance_at_most),
        Shown("rebalance_later_s", "s, the change after it"),
    ]
    return [*found, *balance, *promises.shown()]


def _once(story: Story, setting: Setting[Load]) -> Iterator[Once]:
    chosen = setting.parameters
    offered = chosen.offered(LOAD)
    setting.say(f"{offered}; NFs: {chosen.nfs}")
    played = play(story.schedule(chosen.time_scale), offered, chosen.nfs, setting, story.site)
    figures: dict[str, float | None] = {}
    spans = _spans(story, played)
    for phase, span in zip(story.phases, spans, strict=True):
        since = phase.mean_from(span.since, span.until)
        among = None if story.old_end else span.chains
        figures[f"throughput_{phase.key}"] = played.series.mean(since, span.until, among)
    means = {phase.key: figures[f"throughput_{phase.key}"] for phase in story.phases}
    figures |= ratios.figures(story.ratios, means)
    figures["rebalance_s"], figures["rebalance_later_s"] = (
        rebalanced(before, now, played, old_end=story.old_end) for before, now in pairwise(spans)
    )
    tables = {"throughput": series_table(played), "steps": _steps(story, played)}
    yield Once(figures | promises.figures(played, spans), tables, promises.details(played))


def _steps(story: Story, played: Played) -> Table:
    """When each phase began, s from the begin, and its NFs."""
    return {
        "at_s": np.array(played.moments) - played.moments[0],
        "nfs": np.array([" ".join(phase.nfs) for phase in story.phases]),
    }


def _spans(story: Story, played: Played) -> list[Span]:
    ends = (*played.moments[1:], played.end)
    chains = [tuple(map(chain_of, phase.nfs)) for phase in story.phases]
    return [Span(*item) for item in zip(played.moments, ends, chains, strict=True)]


def rebalanced(before: Span, now: Span, played: Played, *, old_end: bool) -> float | None:
    """Seconds until balance after a change, of the slowest segment; None if one never came to it."""
    found = []
    for seen in played.seen.values():
        old, new = ([c for c in span.chains if c in seen.series.chains] for span in (before, now))
        if old != new:
            cooling = [chain for chain in old if chain not in new] if old_end else []
            found.append(rebalanced_after(seen.series, new, now.since, now.until, cooling))
    return slowest_of(found)
