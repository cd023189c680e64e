"""Pictures of throughput over time, as in the paper's Figs. 7 and 8."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: no display is needed
import matplotlib.pyplot as plt
import numpy as np

from experiments.demo.figures import TOLERANCE
from experiments.evaluation.play import Schedule
from experiments.evaluation.repeat import Once, Table

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")  # Okabe and Ito: told apart by all eyes
_ZOOM_S = (-2.0, 8.0)


def scaling(
    schedule: Callable[[float], Schedule], folder: Path, parameters: Any, runs: Sequence[Once], *, title: str
) -> None:
    """`throughput.png`: above the first run, a line for each chain and one for all, with the changes marked;
    below all runs' mean around the first change, with bars of 10 %."""
    made = schedule(parameters.time_scale)
    figure, (whole, zoomed) = plt.subplots(2, 1, figsize=(9, 8))
    table = runs[0].tables["throughput"]
    for chain, colour in zip(_chains(table), COLOURS, strict=False):
        whole.plot(table["time_s"], table[chain], color=colour, linewidth=1.2, label=chain)
    whole.plot(
        table["time_s"], np.sum([table[c] for c in _chains(table)], axis=0), color="black", label="all chains"
    )
    for step in made.steps[1:]:
        whole.axvline(step.at, color="grey", linestyle="--", linewidth=0.9)
    whole.set(title=title, ylabel="throughput, Mbit/s", xlim=(0, made.end), ylim=(0, None))
    whole.legend(loc="lower right", fontsize=8)
    _zoom(zoomed, made.steps[1].at if len(made.steps) > 1 else made.end / 2, runs)
    save(figure, folder / "throughput.png")


def cases(keys: Sequence[str], folder: Path, _parameters: Any, runs: Sequence[Once], *, title: str) -> None:
    """`throughput.png`: a line for each case, all chains together, of the first run."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    for key, colour in zip(keys, COLOURS, strict=False):
        table = runs[0].tables.get(f"throughput_{key}")
        if table is not None:  # a first run that was interrupted has not all
            total = np.sum([table[c] for c in _chains(table)], axis=0)
            axes.plot(table["time_s"], total, color=colour, label=key)
    axes.set(title=title, xlabel="time, s", ylabel="throughput, Mbit/s", xlim=(0, None), ylim=(0, None))
    axes.legend(loc="lower right", fontsize=8)
    save(figure, folder / "throughput.png")


def shares(nfs: Sequence[str], folder: Path, _parameters: Any, runs: Sequence[Once]) -> None:
    """`alerts.png`: alerts of each NF in each case, of the first run."""
    table = runs[0].tables["alerts"]
    figure, axes = plt.subplots(figsize=(9, 4.5))
    places, width = np.arange(len(table["batch"])), 0.8 / len(nfs)
    for number, (nf, colour) in enumerate(zip(nfs, COLOURS, strict=False)):
        axes.bar(places + number * width, table[nf], width, color=colour, label=nf)
    names = [f"{b} every {e:g} s" for b, e in zip(table["batch"], table["every_s"], strict=True)]
    axes.set_xticks(places + 0.4 - width / 2, names, fontsize=8)
    axes.set(title="SQL injections that each IDS told of", ylabel="alerts")
    axes.legend(fontsize=8)
    save(figure, folder / "alerts.png")


def bars(
    folder: Path,
    values: Mapping[str, Sequence[float]],
    papers: Mapping[str, float | None],
    *,
    title: str,
    unit: str,
) -> None:
    """`bars.png`: the median of each, with its smallest and largest, and the paper's beside it."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    for place, (name, found) in enumerate(values.items()):
        middle = float(np.median(found))
        error = [[middle - min(found)], [max(found) - middle]]
        axes.bar(place - 0.2, middle, 0.4, yerr=error, color=COLOURS[0], capsize=3)
        axes.bar(place + 0.2, papers[name] or 0, 0.4, color=COLOURS[1])
    axes.set_xticks(range(len(values)), list(values))
    axes.set(title=title, ylabel=unit)
    axes.legend(["here", "in the paper"], fontsize=8)
    save(figure, folder / "bars.png")


def against(path: Path, tables: Sequence[Table], key: str, unit: str) -> None:
    """A line for each column against column `key`: medians of all runs, with the smallest and the largest."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    names = [name for name in tables[0] if name != key]
    for name, colour in zip(names, COLOURS, strict=False):
        found = np.array([table[name] for table in tables])
        middle = np.median(found, axis=0)
        error = [middle - found.min(axis=0), found.max(axis=0) - middle]
        axes.errorbar(tables[0][key], middle, yerr=error, color=colour, capsize=3, marker="o", label=name)
    axes.set(xlabel=key, ylabel=unit, ylim=(0, None), title=f"{unit} against {key}")
    axes.set_xticks(tables[0][key])
    axes.legend(fontsize=8)
    save(figure, path)


def _zoom(axes: Any, change: float, runs: Sequence[Once]) -> None:
    moments = np.arange(change + _ZOOM_S[0], change + _ZOOM_S[1], 0.25)
    for chain, colour in zip(_chains(runs[0].tables["throughput"]), COLOURS, strict=False):
        rates = [
            np.interp(moments, run.tables["throughput"]["time_s"], run.tables["throughput"][chain])
            for run in runs
        ]
        mean = np.mean(rates, axis=0)
        if mean.max(initial=0) > 0.1:
            axes.errorbar(
                moments - change,
                mean,
                yerr=TOLERANCE * mean,
                color=colour,
                capsize=2,
                linewidth=1.2,
                label=chain,
            )
    axes.axvline(0, color="grey", linestyle="--", linewidth=0.9)
    axes.set(
        xlabel="time from the first change, s",
        ylabel="Mbit/s, mean of all runs, bars of 10 %",
        ylim=(0, None),
    )
    axes.legend(loc="lower right", fontsize=8)


def save(figure: Any, path: Path) -> None:
    """As PNG, and forget it."""
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _chains(table: Table) -> list[str]:
    return [key for key in table if key not in ("run", "time_s")]
