"""Every SQL injection is detected, and they spread evenly (paper, section IV-A). README.md has the claim."""

from __future__ import annotations

import math
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


class Injected(Load):
    """`seconds` of each case, on the paper's axis: so many at once (`batches`), every so many seconds."""

    seconds: float = Field(gt=0, le=3600)
    batches: tuple[PositiveInt, ...] = Field(min_length=1)
    every_s: tuple[PositiveFloat, ...] = Field(min_length=1)

    @property
    def cases(self) -> list[tuple[int, float]]:
        return list(product(self.batches, self.every_s))


def chi_square(counts: Sequence[int]) -> float:
    """How far they are from all the same: its distribution has one degree of freedom less than there are."""
    even = sum(counts) / len(counts)
    return sum((count - even) ** 2 for count in counts) / even if even else math.inf


def _shown(chosen: Injected) -> list[Shown]:
    spread = [Shown(f"chi_square_{batch}_{every:g}", f"over {len(NFS)} NFs") for batch, every in chosen.cases]
    total = Shown("injections", "in a run", 80_000, at_least=1)
    return [total, Shown("detected", "% of them", 100, at_least=100, at_most=100), *spread, *promises.shown()]


def _once(setting: Setting[Injected]) -> Iterator[Once]:
    chosen = setting.parameters
    spread: dict[str, float | None] = {}
    kept: list[dict[str, float | None]] = []
    sent, counts, details = 0, [], []
    for batch, every in chosen.cases:
        offered = chosen.offered(_load(chosen, batch, every))
        setting.say(f"{offered}; NFs: {chosen.nfs}")
        seconds = chosen.seconds * chosen.time_scale
        played = play(Schedule((Step(0, NFS),), seconds), offered, chosen.nfs, setting)
        alerts = [next(iter(played.seen.values())).alerts[chain_of(name)] for name in NFS]
        setting.say(f"alerts: {', '.join(f'{n} {count}' for n, count in zip(NFS, alerts, strict=True))}")
        spread[f"chi_square_{batch}_{every:g}"] = chi_square(alerts)
        counts.append(alerts)
        sent += played.injections.sent if played.injections is not None else 0
        kept.append(promises.figures(played, [promises.whole(played, NFS)]))
        details += promises.details(played)
        detected = 100 * sum(map(sum, counts)) / sent if sent else None
        figures = spread | {"injections": sent, "detected": detected} | promises.of_several(kept)
        yield Once(figures, {"alerts": _table(chosen, counts)}, details[:])


def _load(chosen: Injected, batch: int, every: float) -> PaperLoad:
    """Injections and no sessions beside them."""
    total = round(batch * chosen.seconds / every)
    return PaperLoad(sessions=0, injections=total, batch=batch, every=every)


def _table(chosen: Injected, counts: Sequence[Sequence[int]]) -> Table:
    """Alerts of each NF in the cases so far."""
    cases = chosen.cases[: len(counts)]
    columns = {"batch": np.array([b for b, _ in cases]), "every_s": np.array([e for _, e in cases])}
    return columns | {name: np.array([row[at] for row in counts]) for at, name in enumerate(NFS)}


def _needs(chosen: Injected) -> list[Need]:
    loads = [(_load(chosen, batch, every), len(NFS)) for batch, every in chosen.cases]
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
