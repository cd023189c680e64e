"""What the commands about autoscalers print for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from catenary import moments
from catenary.autoscale import ScaleView
from mgmt_system.tables import cell, table


def autoscalers(items: Sequence[ScaleView]) -> RenderableType:
    if not items:
        return Text("no segment scales by itself: write one under autoscale, and apply it")
    rows = table("segment", "mode", "chains", "on their way", "wanted", "bounds", "decision", "at", "reason")
    for item in items:
        rows.add_row(
            item.segment,
            item.mode,
            _count(item.chains),
            str(item.coming),
            _count(item.desired),
            f"{item.minimum} to {item.maximum}",
            " ".join([item.verb, *item.names]),
            "-" if item.at is None else moments.iso(item.at),
            item.reason,
        )
    return rows


def autoscaler(item: ScaleView) -> RenderableType:
    targets = table("target", "a chain", "asked", "wants")
    for target in item.targets:
        value = "?" if target.value is None else f"{target.value:.4g}"
        targets.add_row(target.name, value, f"{target.target:g}", _count(target.wants))
    copies = table("copy", "state", "reason")
    for copy in item.copies:
        copies.add_row(" ".join(copy.nfs), copy.state, cell(copy.reason))
    return Group(autoscalers([item]), Text(), targets, Text(), copies)


def _count(value: int | None) -> str:
    return "?" if value is None else str(value)
