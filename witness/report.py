"""Prints a verdict for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from witness.verdict import Verdict


def show(verdict: Verdict, console: Console, findings: int = 10) -> None:
    """Figures, losses, findings, the shortest counter-example, the outcome, and the report in one line."""
    table = Table("figure", "value", title="Verdict")
    for name in ("server_opened", "unsettled", "partial", "strays", "witness_dropped"):
        table.add_row(name, str(getattr(verdict, name)))
    table.add_row("bypassed", str(len(verdict.bypassed)))
    table.add_row("lost", f"{verdict.lost_bytes} bytes, {verdict.lost_packets} bare packets")
    shares = verdict.shares()
    for name, count in verdict.new_sessions().items():
        table.add_row(f"new sessions of {name}", f"{count} ({shares[name]:.1%})")
    console.print(table)
    for loss in verdict.losses[:findings]:
        _say(
            console,
            f"lost {loss.share:.3%} from {loss.source} to {loss.target} ({loss.direction}): {loss.bytes} of "
            f"{loss.of_bytes} bytes, {loss.bare} of {loss.of_bare} bare packets, {loss.sessions} sessions",
        )
    kinds = ("violation", verdict.violations), ("bypass", verdict.bypassed), ("chain killed", verdict.killed)
    for title, found in kinds:
        for finding in found[:findings]:
            _say(console, f"{title}: {finding}")
        if len(found) > findings:
            _say(console, f"... and {len(found) - findings} more of this kind")
    if verdict.example:
        _say(console, "The shortest counter-example (* marks what tells it):")
        for line in verdict.example.told():
            _say(console, line)
    lines = [f"NOT KNOWN: {line}" for line in verdict.missing]
    for line in (*lines, *(f"FAILED: {line}" for line in verdict.failures)):
        _say(console, line)
    but = f" but {len(verdict.killed)} whose chain was killed" if verdict.killed else ""
    if verdict.ok and verdict.partial:
        few = f"{verdict.partial} of {verdict.sessions} were seen in part, and judged for nothing more"
        _say(console, f"OK: no session{but} crossed two chains; {few}")
    elif verdict.ok:
        _say(console, f"OK: every session{but} crossed exactly one chain")
    _say(console, verdict.headline)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
