"""Pictures that several experiments have, drawn from what a run exports: tables with a column `run`.

Throughput over time is that of the first run, as in the paper's Figs. 7 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: no display is needed
import matplotlib.pyplot as plt
import numpy as np

from experiments.demo.figures import TOLERANCE
from experiments.evaluation.repeat import Table, Tables, apart

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")  # Okabe and Ito: told apart by all eyes
_ZOOM_S = (-2.0, 8.0)


def scaling(folder: Path, tables: Tables, *, title: str) -> None:
    """`throughput.png`: above the first run, a line for each chain and one for all, with the changes marked;
    below all runs' mean around the first change, with bars of 10 %."""
    runs, steps = apart(tables["throughput"]), apart(tables["steps"])
    first = runs[0]
    figure, (whole, zoomed) = plt.subplots(2, 1, figsize=(9, 8))
    for chain, colour in zip(_chains(first), COLOURS, strict=False):
        whole.plot(first["time_s"], first[chain], color=colour, linewidth=1.2, label=chain)
    whole.plot(first["time_s"], _total(first), color="black", label="all chains")
    for at in steps[0]["at_s"][1:]:
        whole.axvline(at, color="grey", linestyle="--", linewidth=0.9)
    whole.set(title=title, ylabel="throughput, Mbit/s", xlim=(0, None), ylim=(0, None))
    whole.legend(loc="lower right", fontsize=8)
    _zoom(zoomed, runs, [step["at_s"][1] for step in steps])
    save(figure, folder / "throughput.png")


def cases(folder: Path, tables: Tables, labels: Mapping[str, str], *, title: str) -> None:
    """`throughput.png`: a line for each case of `labels` that was run, all chains together, of the first
    run."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    for (key, label), colour in zip(labels.items(), COLOURS, strict=False):
        if f"throughput_{key}" in tables:
            first = apart(tables[f"throughput_{key}"])[0]
            axes.plot(first["time_s"], _total(first), color=colour, label=label)
    axes.set(title=title, xlabel="time, s", ylabel="throughput, Mbit/s", xlim=(0, None), ylim=(0, None))
    axes.legend(loc="lower right", fontsize=8)
    save(figure, folder / "throughput.png")


def shares(path: Path, labels: Sequence[str], counts: Table, *, title: str, unit: str) -> None:
    """A group of bars for each of `labels`, one bar for each column of `counts`."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    places, width = np.arange(len(labels)), 0.8 / len(counts)
    for number, ((name, found), colour) in enumerate(zip(counts.items(), COLOURS, strict=False)):
        axes.bar(places + number * width, found, width, color=colour, label=name)
    axes.set_xticks(places + 0.4 - width / 2, labels, fontsize=8)
    axes.set(title=title, ylabel=unit)
    axes.legend(fontsize=8)
    save(figure, path)


def bars(path: Path, table: Table, *, key: str, value: str, paper: str, title: str, unit: str) -> None:
    """For each name in column `key`: the median of column `value`, with its smallest and largest, and the
    paper's beside it (column `paper`, NaN where it has none)."""
    figure, axes = plt.subplots(figsize=(9, 4.5))
    names = list(dict.fromkeys(table[key]))
    for place, name in enumerate(names):
        here = table[key] == name
        found, papers = table[value][here], table[paper][here]
        middle = np.median(found)
        error = [[middle - found.min()], [found.max() - middle]]
        axes.bar(place - 0.2, middle, 0.4, yerr=error, color=COLOURS[0], capsize=3)
        axes.bar(place + 0.2, np.nan_to_num(papers[0]), 0.4, color=COLOURS[1])
    axes.set_xticks(range(len(names)), names)
    axes.set(title=title, ylabel=unit)
    axes.legend(["here", "in the paper"], fontsize=8)
    save(figure, path)


def against(path: Path, table: Table, *, key: str, unit: str) -> None:
    """A line for each column against column `key`: medians of all runs, with the smallest and the largest."""
    runs = apart(table)
    figure, axes = plt.subplots(figsize=(9, 4.5))
    names = [name for name in runs[0] if name != key]
    for name, colour in zip(names, COLOURS, strict=False):
        found = np.array([run[name] for run in runs])
        middle = np.median(found, axis=0)
        error = [middle - found.min(axis=0), found.max(axis=0) - middle]
        axes.errorbar(runs[0][key], middle, yerr=error, color=colour, capsize=3, marker="o", label=name)
    axes.set(xlabel=key, ylabel=unit, ylim=(0, None), title=f"{unit} against {key}")
    axes.set_xticks(runs[0][key])
    axes.legend(fontsize=8)
    save(figure, path)


def _zoom(axes: Any, runs: Sequence[Table], changes: Sequence[float]) -> None:
    moments = np.arange(*_ZOOM_S, 0.25)
    for chain, colour in zip(_chains(runs[0]), COLOURS, strict=False):
        rates = [
            np.interp(change + moments, run["time_s"], run[chain])
            for run, change in zip(runs, changes, strict=True)
        ]
        mean = np.mean(rates, axis=0)
        if mean.max(initial=0) > 0.1:
            axes.errorbar(
                moments,
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
    return [key for key in table if key != "time_s"]


def _total(table: Table) -> Any:
    """Of all chains."""
    return np.sum([table[chain] for chain in _chains(table)], axis=0)
