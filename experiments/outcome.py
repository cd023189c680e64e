"""The end of an experiment: `summary.json`, the table of all figures, and what was not reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments import summary
from experiments.summary import Claim, Figure


def conclude(
    name: str,
    results: Path,
    console: Console,
    figures: Mapping[str, Figure],
    claims: Sequence[Claim],
    environment: Mapping[str, Any],
    details: Sequence[str] = (),
) -> bool:
    """Write and print it all, `details` below the table; True when every claim holds."""
    broken = [claim for claim in claims if not claim.holds(figures)]
    summary.write(results / "summary.json", name, ok=not broken, figures=figures, environment=environment)
    console.print(_table(figures, claims))
    for line in details:
        console.print(line, markup=False, soft_wrap=True)
    for claim in broken:
        console.print(f"[red]not reached:[/] {claim.key} {claim.text} (it is {figures[claim.key].value})")
    return not broken


def _table(figures: Mapping[str, Figure], claims: Sequence[Claim]) -> Table:
    """All figures, with what was asked for and what the paper has."""
    asked = {claim.key: claim for claim in claims}
    table = Table(title="What was reached")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("asked", justify="right")
    table.add_column("paper", justify="right")
    table.add_column("")
    for key, figure in figures.items():
        claim = asked.get(key)
        mark = "" if claim is None else "[green]✓[/]" if claim.holds(figures) else "[red]✗[/]"
        table.add_row(
            key,
            "-" if figure.value is None else f"{figure.value:g}",
            figure.unit,
            claim.text if claim else "",
            "" if figure.paper is None else f"{figure.paper:g}",
            mark,
        )
    return table
