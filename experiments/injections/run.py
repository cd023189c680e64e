"""Every SQL injection is detected, and they spread evenly (paper, section IV-A). README.md has the claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.evaluation import promises
from experiments.evaluation.experiment import Evaluation, Setting
from experiments.evaluation.load import Load, PaperLoad
from experiments.evaluation.play import NFS, Schedule, Step, chain_of, play
from experiments.evaluation.preflight import TRAFFIC, Need, nf
from experiments.evaluation.repeat import Once, Shown, Table
from experiments.injections import plot

LEAST_ALERTS = 0.5
"""Of an even share."""


class Injected(Load):
    """`seconds` of each case, on the paper's axis: so many at once (`batches`), every so many seconds."""

    seconds: float = Field(gt=0, le=3600)
    batches: tuple[PositiveInt, ...] = Field(min_length=1)
    every_s: tuple[PositiveFloat, ...] = Field(min_length=1)

    @property
    def cases(self) -> list[tuple[int, float]]:
        return list(product(self.batches, self.every_s))

    def case(self, batch: int, every: float) -> PaperLoad:
        return PaperLoad(sessions=0, injections=round(batch * self.seconds / every), batch=batch, every=every)

    def schedule(self) -> Schedule:
        return Schedule((Step(0, NFS),), self.seconds * self.time_scale)


def chi_square(counts: Sequence[int]) -> float | None:
    """How far they are from all the same: its distribution has one degree of freedom less than there are.
    None if nothing was counted."""
    even = sum(counts) / len(counts)
    return sum((count - even) ** 2 for count in counts) / even if even else None


def least_share(counts: Sequence[int]) -> float:
    """The smallest, over an even share: 1 if all are the same, 0 if nothing was counted."""
    return min(counts) * len(counts) / max(sum(counts), 1)


def _shown(chosen: Injected) -> list[Shown]:
    spread = [Shown(f"chi_square_{batch}_{every:g}", f"over {len(NFS)} NFs") for batch, every in chosen.cases]
    total = Shown("injections", "in the largest case", 80_000, at_least=1)
    return [
        total,
        Shown("detected", "% of them", 100, at_least=100, at_most=100, worst=min),
        Shown("least_alerts", "of an even share, in any case", at_least=LEAST_ALERTS, worst=min),
        *spread,
        *promises.shown(),
    ]


def _once(setting: Setting[Injected]) -> Iterator[Once]:
    chosen = setting.parameters
    spread: dict[str, float | None] = {}
    kept: list[dict[str, float | None]] = []
    sent: list[int] = []
    counts, details = [], []
    for batch, every in chosen.cases:
        offered = chosen.offered(chosen.case(batch, every))
        setting.say(f"{offered}; NFs: {chosen.nfs}")
        played = play(chosen.schedule(), offered, chosen.nfs, setting)
        alerts = [next(iter(played.seen.values())).alerts[chain_of(name)] for name in NFS]
        setting.say(f"alerts: {', '.join(f'{n} {count}' for n, count in zip(NFS, alerts, strict=True))}")
        spread[f"chi_square_{batch}_{every:g}"] = chi_square(alerts)
        counts.append(alerts)
        sent.append(played.injections.sent if played.injections is not None else 0)
        kept.append(promises.figures(played, [promises.whole(played, NFS)]))
        details += promises.details(played)
        figures = spread | promises.of_several(kept)
        figures |= {"injections": max(sent), "least_alerts": min(map(least_share, counts))}
        figures["detected"] = 100 * sum(map(sum, counts)) / sum(sent) if sum(sent) else None
        yield Once(figures, {"alerts": _table(chosen, counts)}, details[:])


def _table(chosen: Injected, counts: Sequence[Sequence[int]]) -> Table:
    """Alerts of each NF in the cases so far."""
    cases = chosen.cases[: len(counts)]
    columns = {"batch": np.array([b for b, _ in cases]), "every_s": np.array([e for _, e in cases])}
    return columns | {name: np.array([row[at] for row in counts]) for at, name in enumerate(NFS)}


def _needs(chosen: Injected) -> list[Need]:
    loads = [(chosen.case(batch, every), len(NFS)) for batch, every in chosen.cases]
    return [*TRAFFIC, nf(chosen.nf), *chosen.needs(*loads)]


EVALUATION = Evaluation(
    name="injections",
    about="Every SQL injection is detected, and they spread evenly (paper, IV-A)",
    kind=Injected,
    shown=_shown,
    once=_once,
    plot=plot.draw,
    needs=_needs,
)

if __name__ == "__main__":
    EVALUATION.main()
