"""Experiments in which the chains stay: throughput of so many NFs under some load (paper, Figs. 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from experiments.evaluation import promises, ratios
from experiments.evaluation.experiment import Evaluation, Plot, Setting
from experiments.evaluation.load import Load, PaperLoad
from experiments.evaluation.play import NFS, NfKind, Schedule, Step, play, series_table
from experiments.evaluation.preflight import TRAFFIC, Need, nf
from experiments.evaluation.ratios import Ratio
from experiments.evaluation.repeat import Once, Shown

LEAST_THROUGHPUT = 0.8
"""Of what the NFs let through of a load."""


@dataclass(frozen=True)
class Case:
    """So many NFs under a load; its mean is taken over [`since`, `until`] of the time in which sessions begin
    (0..1). `paper`: its throughput there, Mbit/s.

    One NF alone has another one's chain beside it, cordoned: else nothing could go astray.
    """

    key: str
    nfs: tuple[str, ...]
    load: PaperLoad
    since: float
    until: float
    paper: float | None = None
    nf: str | None = None
    """Another NF than the parameter says."""

    def schedule(self, scale: float) -> Schedule:
        cordoned = [nf for nf in NFS if nf not in self.nfs][:1] if len(self.nfs) == 1 else []
        return Schedule((Step(0, self.nfs, tuple(cordoned)),), self.load.seconds * scale)


@dataclass(frozen=True)
class Cases:
    """`ratios` are of cases."""

    cases: tuple[Case, ...]
    ratios: Mapping[str, Ratio] = field(default_factory=dict)


def evaluation(name: str, about: str, cases: Cases, plot: Plot[Load]) -> Evaluation[Load]:
    """The experiment that plays case after case."""
    return Evaluation(
        name=name,
        about=about,
        kind=Load,
        shown=partial(_shown, cases),
        once=partial(_once, cases),
        plot=plot,
        needs=partial(_needs, cases),
    )


def _needs(cases: Cases, chosen: Load) -> list[Need]:
    nfs = [nf(case.nf or chosen.nf) for case in cases.cases]
    loads = [(case.load, len(case.nfs)) for case in cases.cases]
    return [*TRAFFIC, *nfs, *chosen.needs(*loads)]


def _shown(cases: Cases, chosen: Load) -> list[Shown]:
    papers = {case.key: case.paper for case in cases.cases}
    found = [
        Shown(
            f"throughput_{case.key}",
            "Mbit/s",
            case.paper,
            at_least=LEAST_THROUGHPUT * chosen.mbit(case.load, len(case.nfs)),
            steady=True,
        )
        for case in cases.cases
    ]
    return [*found, *ratios.shown(cases.ratios, papers), *promises.shown()]


def _once(cases: Cases, setting: Setting[Load]) -> Iterator[Once]:
    chosen = setting.parameters
    means: dict[str, float | None] = {}
    kept, tables, details = [], {}, []
    for case in cases.cases:
        offered = chosen.offered(case.load)
        nfs = NfKind(case.nf or chosen.nf, chosen.capacity_mbit)
        setting.say(f"{case.key}: {', '.join(case.nfs)}, each {nfs}; {offered}")
        schedule = case.schedule(chosen.time_scale)
        played = play(schedule, offered, nfs, setting)
        since, until = (played.moments[0] + share * schedule.end for share in (case.since, case.until))
        means[case.key] = played.series.mean(since, until)
        kept.append(promises.figures(played, [promises.whole(played, case.nfs)]))
        tables[f"throughput_{case.key}"] = series_table(played)
        details += promises.details(played)
        figures = {f"throughput_{key}": mean for key, mean in means.items()}
        figures |= ratios.figures(cases.ratios, means) | promises.of_several(kept)
        yield Once(figures, dict(tables), details[:])
