"""Every SQL injection is detected, and they spread evenly (paper, section IV-A). README.md has the claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from pydantic import Field

from experiments.evaluation import pictures, promises
from experiments.evaluation.experiment import Evaluation, Setting
from experiments.evaluation.load import Load, PaperLoad
from experiments.evaluation.play import NFS, Schedule, Step, chain_of, play
from experiments.evaluation.preflight import TRAFFIC, nf
from experiments.evaluation.repeat import Once, Shown

CASES = tuple((batch, every) for batch in (600, 1000) for every in (1.0, 3.0, 5.0))
"""So many at once, every so many seconds."""


class Injected(Load):
    """`seconds` of each case, on the paper's axis."""

    seconds: float = Field(gt=0, le=3600)


def chi_square(counts: Sequence[int]) -> float:
    """How far they are from all the same: its distribution has one degree of freedom less than there are."""
    even = sum(counts) / len(counts)
    return sum((count - even) ** 2 for count in counts) / even if even else math.inf


def _shown(_chosen: Injected) -> list[Shown]:
    spread = [Shown(f"chi_square_{batch}_{every:g}", f"over {len(NFS)} NFs") for batch, every in CASES]
    total = Shown("injections", "in a run", 80_000, at_least=1)
    return [total, Shown("detected", "% of them", 100, at_least=100, at_most=100), *spread, *promises.shown()]


def _once(setting: Setting[Injected]) -> Once:
    chosen = setting.parameters
    figures: dict[str, float | None] = {}
    parts, counts, details = [], [], []
    for batch, every in CASES:
        load = PaperLoad(
            sessions=0, injections=round(batch * chosen.seconds / every), batch=batch, every=every
        )
        offered = chosen.offered(load)
        setting.say(f"{offered}; NFs: {chosen.nfs}")
        seconds = chosen.seconds * chosen.time_scale
        played = play(Schedule((Step(0, NFS),), seconds), offered, chosen.nfs, setting)
        alerts = [next(iter(played.seen.values())).alerts[chain_of(name)] for name in NFS]
        setting.say(f"alerts: {', '.join(f'{n} {count}' for n, count in zip(NFS, alerts, strict=True))}")
        figures[f"chi_square_{batch}_{every:g}"] = chi_square(alerts)
        counts.append(alerts)
        parts.append((played, promises.figures(played, [promises.whole(played, NFS)])))
        details += promises.details(played)
    sent = sum(played.injections.sent for played, _ in parts if played.injections is not None)
    figures |= {"injections": sent, "detected": 100 * sum(map(sum, counts)) / sent}
    table = {"batch": np.array([b for b, _ in CASES]), "every_s": np.array([e for _, e in CASES])}
    table |= {name: np.array([row[at] for row in counts]) for at, name in enumerate(NFS)}
    return Once(figures | promises.of_several([kept for _, kept in parts]), {"alerts": table}, details)


EVALUATION = Evaluation(
    name="injections",
    about="Every SQL injection is detected, and they spread evenly (paper, IV-A)",
    kind=Injected,
    shown=_shown,
    once=_once,
    plot=partial(pictures.shares, NFS),
    needs=lambda chosen: (*TRAFFIC, nf(chosen.nf)),
)

if __name__ == "__main__":
    EVALUATION.main()
