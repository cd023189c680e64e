"""The demo's pictures: throughput over time with the changes marked, each chain's share of new sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: no display is needed
import matplotlib.pyplot as plt
import numpy as np

from experiments.demo.figures import Array, Series
from experiments.demo.story import Step

_COLOURS = ("#0072b2", "#e69f00", "#009e73")  # Okabe and Ito: told apart by all eyes


@dataclass(frozen=True)
class Marks:
    """The moments of the steps, in seconds of the series' clock; the story lasts until `end`."""

    steps: Sequence[Step]
    requests: Sequence[float]
    end: float

    @property
    def begin(self) -> float:
        return self.requests[0]


def throughput(path: Path, series: Series, marks: Marks) -> None:
    """A line for each chain and one for all; 1 s windows."""
    moments = np.arange(marks.begin + 1.0, marks.end, 0.25)
    rates = series.throughput(moments)
    figure, axes = plt.subplots(figsize=(10, 4.5))
    axes.plot(moments - marks.begin, rates.sum(axis=1), color="black", linewidth=1.8, label="all chains")
    for column, (chain, colour) in enumerate(zip(series.chains, _COLOURS, strict=True)):
        axes.plot(moments - marks.begin, rates[:, column], color=colour, linewidth=1.2, label=chain)
    axes.set_ylabel("throughput, Mbit/s")
    axes.set_ylim(0, 1.2 * float(rates.sum(axis=1).max(initial=1.0)))
    _finish(path, figure, axes, marks, "Throughput as chains are added and removed")


def share(path: Path, chains: Sequence[str], moments: Array, counts: Array, marks: Marks) -> None:
    """Stacked shares of the new sessions: `counts` is (bins x chains), `moments` the begin of each bin."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(10, 4.5))
    axes.stackplot(
        moments - marks.begin,
        (100 * counts / totals).T,
        labels=list(chains),
        colors=_COLOURS[: len(chains)],
        alpha=0.85,
        step="post",
    )
    axes.set_ylabel("share of new sessions, %")
    axes.set_ylim(0, 112)
    _finish(path, figure, axes, marks, "Each chain's share of the new sessions")


def _finish(path: Path, figure: plt.Figure, axes: plt.Axes, marks: Marks, title: str) -> None:
    top = axes.get_ylim()[1]
    for step, moment in zip(marks.steps, marks.requests, strict=True):
        axes.axvline(moment - marks.begin, color="grey", linestyle="--", linewidth=0.9)
        axes.text(moment - marks.begin + 0.3, top * 0.985, f"{step.verb}\n{step.chain}", fontsize=8, va="top")
    axes.set_xlim(0, marks.end - marks.begin)
    axes.set_xlabel("time, s")
    axes.set_title(title)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
