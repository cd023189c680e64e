"""An experiment as a command, and its end: exit status, `summary.json`, the table, what was not reached."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from catenary.errors import CatenaryError, InvalidValue
from experiments import summary
from experiments.part import Part
from experiments.summary import Claim, Figure

INTERRUPTED = 130
"""Exit status of a run that was interrupted."""


def execute(name: str, console: Console, work: Callable[[], bool]) -> NoReturn:
    """Exit with 0 if `work` kept all claims, 1 if not, 130 when interrupted, else with its error's status.

    A `KeyboardInterrupt` of `work` says what it kept, if it kept anything.
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        ok = work()
    except KeyboardInterrupt as interruption:
        kept = str(interruption) or "no summary of it is written; an earlier one stays"
        console.print(f"interrupted: {kept}", markup=False, soft_wrap=True)
        sys.exit(INTERRUPTED)
    except CatenaryError as error:
        print(f"{name}: {error.detail}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0 if ok else 1)


def _terminated(number: int, _frame: object) -> NoReturn:
    """Once: told to a whole process group it comes several times, and would cut short what follows it."""
    signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def conclude(
    name: str,
    results: Path,
    console: Console,
    figures: Mapping[str, Figure],
    claims: Sequence[Claim],
    environment: Mapping[str, Any],
    details: Sequence[str] = (),
    **more: Any,
) -> bool:
    """Write (with `more`) and print it all, `details` below the table; True when every claim holds."""
    broken = [claim for claim in claims if not claim.holds(figures)]
    told = {"ok": not broken, **more}
    summary.write(results / "summary.json", name, figures=figures, environment=environment, **told)
    console.print(_table(figures, claims))
    for line in details:
        console.print(line, markup=False, soft_wrap=True)
    for claim in broken:
        console.print(f"[red]not reached:[/] {claim.key} {claim.text} (it is {figures[claim.key].value})")
    return not broken


def conclude_parts(name: str, results: Path, console: Console, parts: Sequence[Part], begun: float) -> bool:
    """The same for an experiment of several parts, which began at `begun` (s, monotonic)."""
    ok = conclude(
        name,
        results,
        console,
        {key: figure for part in parts for key, figure in part.figures.items()},
        [claim for part in parts for claim in part.claims],
        summary.environment(
            **{key: value for part in parts for key, value in part.facts.items()},
            seconds=round(time.monotonic() - begun),
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        ),
        [line for part in parts for line in part.details],
    )
    console.print(f"written: {results}/summary.json", soft_wrap=True)
    return ok


def chosen(only: str | None, parts: Collection[str]) -> list[str]:
    """The parts that `--only` names, comma-separated; all without it. `InvalidValue` for an unknown one."""
    names = list(parts) if only is None else only.split(",")
    for name in names:
        if name not in parts:
            raise InvalidValue(f"--only {name!r}: there are {', '.join(parts)}")
    return names


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
