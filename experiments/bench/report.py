"""From figures to files: the table for the docs, the claims, every single run, and the plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: no display is needed
import matplotlib.pyplot as plt

from catenary.errors import InvalidValue
from experiments.bench.peers import TITLES
from experiments.summary import Claim, Figure

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_METRICS = {
    "tcp1": "one TCP stream, Gbit/s",
    "tcp4": "four TCP streams, Gbit/s",
    "mpps64": "64-byte frames, million/s",
}
_COLOURS = ("#999999", "#999999", "#999999", "#0072b2", "#56b4e9", "#e69f00", "#d55e00")
"""Peers grey, Catenary blue, Open vSwitch orange (Okabe and Ito)."""
_ASKED = "#d55e00"
_COSTS = ("ebpf_hit_ns", "ebpf_new_ns", "ebpf_hit_1m_ns", "c_hit_100k_ns", "c_hit_1m_ns")
Runs = Mapping[str, Sequence[float]]


def markdown(
    figures: Mapping[str, Figure], claims: Sequence[Claim], settings: Mapping[str, str], machine: str
) -> str:
    """A table of the paths, one of all other figures and ratios, and the commands."""
    lines = [f"Measured on {machine}. Medians; smallest and largest run in brackets.", ""]
    if any(f"{peer}_tcp1" in figures for peer in TITLES):
        lines += ["| path | " + " | ".join(_METRICS.values()) + " |", "|---|" + "---:|" * len(_METRICS)]
        for peer, title in TITLES.items():
            cells = (_cell(figures[f"{peer}_{metric}"]) for metric in _METRICS)
            lines.append(f"| {title} | {' | '.join(cells)} |")
        lines.append("")
    of_paths = {f"{peer}_{metric}" for peer in TITLES for metric in _METRICS}
    rest = {key: figure for key, figure in figures.items() if key not in of_paths}
    if rest:
        asked = {claim.key: claim for claim in claims}
        lines += ["| figure | value | unit | asked | |", "|---|---:|---|---:|---|"]
        for key, figure in rest.items():
            claim = asked.get(key)
            words = (claim.text, "yes" if claim.holds(figures) else "**no**") if claim else ("", "")
            unit, _ = unit_and_spread(figure)
            lines.append(f"| `{key}` | {_cell(figure)} | {unit} | {' | '.join(words)} |")
        lines.append("")
    commands = dict.fromkeys(settings.values())
    if commands:
        lines += ["Each at its best setting, found by trying:", ""]
    for command in commands:
        users = [key for key, other in settings.items() if other == command]
        lines += [f"{', '.join(f'`{key}`' for key in users)}:", "", "```sh", command, "```", ""]
    return "\n".join(lines)


def unit_and_spread(figure: Figure) -> tuple[str, str]:
    """`plan.figure` keeps the extremes beside the unit: the two apart."""
    unit, _, spread = figure.unit.partition(" (min ")
    return unit, spread.removesuffix(")").replace(", max ", " .. ")


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    _, spread = unit_and_spread(figure)
    return f"{figure.value:g} ({spread})" if spread else f"{figure.value:g}"


def replace_table(page: Path, table: str) -> None:
    """Put `table` between the marks of a page of the docs. Raises `InvalidValue` where there are none."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidValue(f"{page} has no lines {BEGIN!r} and {END!r}: there is no place for the table")
    page.write_text(f"{before}{BEGIN}\n{table.strip()}\n{END}{after}")


def claims_file(path: Path, figures: Mapping[str, Figure], claims: Sequence[Claim], runs: Runs) -> None:
    """What was asked and whether it holds, the ratios, and all single runs."""
    content: dict[str, Any] = {
        "claims": [
            {
                "key": claim.key,
                "asked": claim.text,
                "value": figures[claim.key].value,
                "ok": claim.holds(figures),
            }
            for claim in claims
        ],
        "figures": {key: figure.plain() for key, figure in figures.items()},
        "runs": {key: list(values) for key, values in runs.items()},
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def plot_paths(path: Path, runs: Runs) -> None:
    """All peers side by side, one panel a metric: medians with smallest and largest run."""
    figure, panels = plt.subplots(1, len(_METRICS), figsize=(13, 4.2), sharey=True)
    for panel, (metric, title) in zip(panels, _METRICS.items(), strict=True):
        _bars(panel, [runs.get(f"{peer}_{metric}", ()) for peer in TITLES], list(TITLES.values()), _COLOURS)
        panel.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_costs(path: Path, runs: Runs, claims: Sequence[Claim]) -> None:
    """Nanoseconds a packet, beside what was asked."""
    figure, axes = plt.subplots(figsize=(8, 3.2))
    _bars(axes, [runs.get(key, ()) for key in _COSTS], list(_COSTS), ("#0072b2",) * len(_COSTS))
    for claim in claims:
        if claim.key in _COSTS and claim.at_most is not None:
            row = _COSTS.index(claim.key)
            axes.plot([claim.at_most] * 2, [row - 0.4, row + 0.4], color=_ASKED)
    axes.plot([], [], color=_ASKED, label="asked")
    axes.set_xlabel("ns a packet")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _bars(axes: Any, rows: Sequence[Sequence[float]], names: Sequence[str], colours: Sequence[str]) -> None:
    for row, (values, colour) in enumerate(zip(rows, colours, strict=True)):
        if not values:
            axes.text(0, row, " not measured", va="center", fontsize=8, color="#666666")
            continue
        middle = sorted(values)[len(values) // 2]
        spread = [[middle - min(values)], [max(values) - middle]]
        axes.barh(row, middle, color=colour, xerr=spread, capsize=3, height=0.7)
        axes.text(max(values), row, f"  {middle:.3g}", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.15)
