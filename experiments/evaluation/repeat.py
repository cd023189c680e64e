"""From single runs to figures: medians, spreads, and whether they were too noisy to tell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.summary import Claim, Figure

Column = npt.NDArray[Any]
Table = Mapping[str, Column]
"""Columns of one length, by name: what is exported, and drawn."""
Tables = Mapping[str, Table]


@dataclass(frozen=True)
class Shown:
    """A figure that an experiment shows: in `unit`, what the `paper` has for it, what it must reach.

    `worst` is for what must hold in every run: `max` (of counts of what must not be) or `min` picks the run
    that tells; else their median does. A `steady` one makes a run noisy when it differs too much between
    runs.
    """

    key: str
    unit: str
    paper: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    steady: bool = False
    worst: Callable[[Iterable[float]], float] | None = None

    @property
    def claim(self) -> Claim | None:
        if self.at_least is None and self.at_most is None:
            return None
        return Claim(self.key, self.at_least, self.at_most)


def none_of(key: str, unit: str) -> Shown:
    """A count that must be 0 in every run."""
    return Shown(key, unit, at_least=0, at_most=0, worst=max)


@dataclass(frozen=True)
class Once:
    """What one run found: figures by key (None: could not be measured), tables by name, lines to print.

    One that is not `whole` was interrupted: it lacks figures that it would have had.
    """

    figures: Mapping[str, float | None]
    tables: Tables = field(default_factory=dict)
    details: Sequence[str] = ()
    whole: bool = True


class Status(StrEnum):
    """How an experiment ended."""

    OK = "ok"
    NOT_REACHED = "not reached"
    NOISY = "noisy"
    INTERRUPTED = "interrupted"


def spread(values: Sequence[float]) -> float:
    """(max - min) / median, 0 for a single value or when all are 0."""
    middle = median(values)
    width = max(values) - min(values)
    return float(width / abs(middle)) if middle else float(width > 0)


def figure(shown: Shown, runs: Sequence[Once]) -> Figure:
    """The median of the runs, or the worst; without a value if any whole run has none."""
    values = [run.figures.get(shown.key) for run in runs]
    values = [value for value, run in zip(values, runs, strict=True) if run.whole or value is not None]
    known = [float(value) for value in values if value is not None]
    if not known or len(known) < len(values):
        return Figure(None, shown.unit, shown.paper)
    value = (shown.worst or median)(known)
    several = len(known) > 1 and shown.worst is None
    return Figure(
        _tidy(value),
        shown.unit,
        shown.paper,
        runs=tuple(map(_tidy, known)) if several else (),
        spread=round(spread(known), 3) if several else None,
    )


def noisy(shown: Sequence[Shown], figures: Mapping[str, Figure], bound: float) -> list[str]:
    """A line for each steady figure that differs by more than `bound` between runs."""
    lines = []
    for item in shown:
        found = figures[item.key]
        if item.steady and found.spread is not None and found.spread > bound:
            runs = ", ".join(f"{value:g}" for value in found.runs)
            lines.append(f"{item.key}: {runs} {item.unit} differ by {found.spread:.0%} (at most {bound:.0%})")
    return lines


def joined(runs: Sequence[Once]) -> dict[str, Table]:
    """The tables of all runs, each with a first column `run` that counts from 1."""
    names = dict.fromkeys(name for run in runs for name in run.tables)
    return {
        name: _stacked([(n, run.tables[name]) for n, run in enumerate(runs, 1) if name in run.tables])
        for name in names
    }


def apart(table: Table) -> list[Table]:
    """Those of the single runs again, without the column."""
    columns = {key: column for key, column in table.items() if key != "run"}
    return [
        {key: column[table["run"] == number] for key, column in columns.items()}
        for number in np.unique(table["run"])
    ]


def _stacked(parts: Sequence[tuple[int, Table]]) -> Table:
    numbers = [np.full(len(next(iter(table.values()))), number) for number, table in parts]
    columns = {key: np.concatenate([table[key] for _, table in parts]) for key in parts[0][1]}
    return {"run": np.concatenate(numbers), **columns}


def _tidy(value: float) -> float | int:
    """Four figures are more than these machines can tell apart."""
    short = float(f"{value:.4g}") if abs(value) < 10000 else round(value)
    return int(short) if float(short).is_integer() else short
