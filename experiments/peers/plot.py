"""All peers in one picture: a row each, throughput over time on the left, what was broken on the right.

python -m experiments.peers.plot [DIR]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: no display is needed
import matplotlib.pyplot as plt
import numpy as np

from experiments.evaluation import redraw
from experiments.evaluation.pictures import COLOURS, save
from experiments.evaluation.play import throughput_table
from experiments.evaluation.repeat import Table, Tables, apart
from experiments.peers.balancing import CHAINS
from experiments.peers.outcome import STEPS, Outcome, rebalances

_COUNTS = {"broken": "broken sessions", "failed": "failed requests", "missed": "missed alerts"}


def tables(peer: str, seen: Outcome) -> dict[str, Table]:
    """`throughput_PEER`: Mbit/s of each chain in the 1 s window before each moment, s from the first step;
    `steps_PEER`: when each step was, and how long it took until balance (NaN: never); `counts_PEER`: of
    sessions, of what was broken (NaN: not known)."""
    begun = seen.moments[0]
    even = [0.0, *(np.nan if seconds is None else seconds for seconds in rebalances(seen))]
    return {
        f"throughput_{peer}": throughput_table([seen.series], begun, seen.moments[-1]),
        f"steps_{peer}": {
            "at_s": np.array(seen.moments[:-1]) - begun,
            "step": np.array([step.text for step in STEPS]),
            "balanced_after_s": np.array(even),
        },
        f"counts_{peer}": {
            "sessions": np.array([seen.sessions]),
            "broken": np.array([seen.broken]),
            "failed": np.array([seen.failed]),
            "missed": np.array([np.nan if seen.missed is None else seen.missed]),
        },
    }


def draw(path: Path, titles: Mapping[str, str], exported: Tables) -> None:
    """The peers of `titles` that were measured, each in its first run."""
    tables = {name: apart(table)[0] for name, table in exported.items()}
    peers = [peer for peer in titles if f"throughput_{peer}" in tables]
    figure, axes = plt.subplots(
        len(peers), 2, figsize=(12, 0.8 + 2.1 * len(peers)), width_ratios=(3, 1), squeeze=False, sharex="col"
    )
    top = max(1.0, *(float(_total(tables[f"throughput_{peer}"]).max(initial=0)) for peer in peers))
    most = max(1.0, *(count for peer in peers for count in _counts(tables[f"counts_{peer}"]).values()))
    for peer, (left, right) in zip(peers, axes, strict=True):
        left.set_title(titles[peer], loc="left", fontsize=10)
        left.set_ylim(0, 1.25 * top)
        _throughput(left, tables[f"throughput_{peer}"], tables[f"steps_{peer}"])
        right.set_xlim(0, 5 * most)
        counts = tables[f"counts_{peer}"]
        _bars(right, _counts(counts), counts["sessions"][0])
    axes[-1][0].set_xlabel("time, s")
    axes[0][0].legend(loc="lower right", fontsize=7, ncols=2)
    save(figure, path)


def _total(table: Table) -> Any:
    return np.sum([table[chain.name] for chain in CHAINS], axis=0)


def _throughput(axes: Any, table: Table, steps: Table) -> None:
    axes.plot(table["time_s"], _total(table), color="black", linewidth=1.6, label="all chains")
    for chain, colour in zip(CHAINS, COLOURS, strict=False):
        axes.plot(table["time_s"], table[chain.name], color=colour, linewidth=1.1, label=chain.name)
    for at, text, even in zip(*steps.values(), strict=True):
        axes.axvline(at, color="grey", linestyle="--", linewidth=0.8)
        lines = [text, "" if at == 0 else "never even" if np.isnan(even) else f"even after {even:.1f} s"]
        place = {"xy": (at, axes.get_ylim()[1]), "xytext": (3, -3), "textcoords": "offset points"}
        axes.annotate("\n".join(lines), **place, fontsize=6.5, va="top")
    axes.set_ylabel("Mbit/s", fontsize=8)
    axes.set_xlim(0, None)


def _counts(counts: Table) -> dict[str, float]:
    """What was broken and is known, by its words."""
    found = {words: float(counts[key][0]) for key, words in _COUNTS.items()}
    return {words: count for words, count in found.items() if not np.isnan(count)}


def _bars(axes: Any, counts: Mapping[str, float], sessions: float) -> None:
    """On a scale that shows few beside many, and 0 as nothing."""
    bars = axes.barh(list(counts), list(counts.values()), color=COLOURS[: len(counts)])
    axes.bar_label(bars, fmt="%d", padding=3, fontsize=8)
    axes.set_xscale("symlog", linthresh=1)
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    axes.set_title(f"of {sessions:.0f} sessions", loc="left", fontsize=8)


if __name__ == "__main__":
    redraw.main("peers")
