"""Ratios of throughputs: what machines that differ can be compared by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.evaluation.repeat import Shown


@dataclass(frozen=True)
class Ratio:
    """`above` over `below`, keys of what was measured. `paper`: its own, if not that of its single values."""

    above: str
    below: str
    at_least: float | None = None
    at_most: float | None = None
    paper: float | None = None


def shown(ratios: Mapping[str, Ratio], papers: Mapping[str, float | None]) -> list[Shown]:
    """`papers`: the paper's single values by key."""
    return [
        Shown(f"ratio_{key}", "", _paper(it, papers), at_least=it.at_least, at_most=it.at_most, steady=True)
        for key, it in ratios.items()
    ]


def figures(ratios: Mapping[str, Ratio], measured: Mapping[str, float | None]) -> dict[str, float | None]:
    """Their values; None where one is missing, or nothing is below."""
    found: dict[str, float | None] = {}
    for key, it in ratios.items():
        above, below = measured.get(it.above), measured.get(it.below)
        found[f"ratio_{key}"] = above / below if above is not None and below else None
    return found


def _paper(ratio: Ratio, papers: Mapping[str, float | None]) -> float | None:
    above, below = papers.get(ratio.above), papers.get(ratio.below)
    return round(above / below, 2) if ratio.paper is None and above and below else ratio.paper
