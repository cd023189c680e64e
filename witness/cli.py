"""`catenary verify`: judge a recorded run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from catenary.errors import InvalidValue
from witness.checker import judge
from witness.recording import Recording
from witness.verdict import Thresholds, Verdict

app = typer.Typer()


@app.callback()
def _group() -> None:
    """Keeps `verify` a command of its own when this app stands alone."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A recording of the witness (.npz).")],
    chain: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NF[,NF...] in forward order; repeat it. Default: as recorded."),
    ] = None,
    min_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the new sessions that each chain must carry.")
    ] = 0.0,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Share that may be lost between two taps.")
    ] = Thresholds().max_loss,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Judge a recorded run: did every packet cross exactly one chain? Exit code 1 if not."""
    chains = dict(parse_chain(text) for text in chain) if chain else None
    verdict = judge(Recording.load(file), chains, Thresholds(min_share, max_loss))
    if as_json:
        typer.echo(json.dumps(verdict.summary(), indent=2))
    else:
        show(verdict, Console())
    raise typer.Exit(0 if verdict.ok else 1)


def parse_chain(text: str) -> tuple[str, tuple[str, ...]]:
    """Read `NAME=NF[,NF...]`; raises `InvalidValue` that quotes the text."""
    name, equals, nfs = text.partition("=")
    names = tuple(part.strip() for part in nfs.split(","))
    if not name or not equals or not all(names):
        raise InvalidValue(f"{text!r} is not a chain: write NAME=NF[,NF...] such as chain-1=n1")
    return name.strip(), names


def show(verdict: Verdict, console: Console, findings: int = 10) -> None:
    """Print a verdict: figures, shares, losses, the shortest counter-examples, and the outcome."""
    table = Table("figure", "value", title="Verdict")
    for name in ("sessions", "server_opened", "unsettled", "strays", "witness_dropped"):
        table.add_row(name, str(getattr(verdict, name)))
    table.add_row("violations", str(len(verdict.violations)))
    table.add_row("bypassed", str(len(verdict.bypassed)))
    table.add_row("lost", f"{verdict.lost_bytes} bytes, {verdict.lost_packets} bare packets")
    shares = verdict.shares()
    for name, count in verdict.new_sessions().items():
        table.add_row(f"new sessions of {name}", f"{count} ({shares[name]:.1%})")
    console.print(table)
    for loss in verdict.losses[:findings]:
        console.print(
            f"lost {loss.share:.3%} from {loss.source} to {loss.target} ({loss.direction}): {loss.bytes} of "
            f"{loss.of_bytes} bytes, {loss.bare} of {loss.of_bare} bare packets, {loss.sessions} sessions",
            soft_wrap=True,
        )
    for title, found in (("violation", verdict.violations), ("bypass", verdict.bypassed)):
        for finding in found[:findings]:
            console.print(f"{title}: {finding}", soft_wrap=True, markup=False)
        if len(found) > findings:
            console.print(f"... and {len(found) - findings} more of this kind")
    for line in verdict.failures:
        console.print(f"FAILED: {line}", soft_wrap=True)
    if verdict.ok:
        console.print("OK: every session crossed exactly one chain")
