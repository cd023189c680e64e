"""`catenary history`: what happened, from the journal."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console

from catenary import moments, wire
from catenary.client import ManagementClient
from catenary.errors import InvalidValue
from mgmt_system import tables
from mgmt_system.progress import INTERRUPTED

FOLLOW = 1.0
"""Seconds between questions for later entries."""
Moment = Annotated[str | None, typer.Option(help="A moment: 2026-03-01T14:30, or 10m for ten minutes ago.")]


def history(
    since: Moment = None,
    until: Moment = None,
    chain: Annotated[str | None, typer.Option(help="Only of this chain.")] = None,
    segment: Annotated[str | None, typer.Option(help="Only of this segment.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only of this kind: add, remove, weight, state, epoch, ...")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Only what was asked for by this user: user@host.")] = None,
    last: Annotated[int | None, typer.Option(help="Begin with the last so many.", min=1, max=10000)] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens, until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each entry as one line of JSON.")] = False,
) -> None:
    """Show what happened: who changed what, when, why and from where.

    Examples:

        catenary history --since 1h

        catenary history --last 20

        catenary history --chain chain-2 --follow

        catenary history --json > journal.jsonl
    """
    now = time.time()
    wanted = {
        "since": moments.parse(since, now) if since is not None else None,
        "until": moments.parse(until, now) if until is not None else None,
        "chain": chain,
        "segment": segment,
        "kind": kind,
        "who": who,
    }
    if follow and until is not None:
        raise InvalidValue("--follow goes on for ever and --until ends: use one of them")
    with ManagementClient.from_environment() as client, suppress(KeyboardInterrupt):
        place: dict[str, int | None] = {"last": last}
        while True:
            for entry in client.history(**wanted, **place):
                place = {"after": entry.seq}
                _print(entry, json)
            if not follow:
                return
            time.sleep(FOLLOW)
    raise typer.Exit(INTERRUPTED)


def _print(entry: wire.HistoryEntry, json: bool) -> None:
    if json:
        print(entry.model_dump_json(), flush=True)
    else:
        tables.line(tables.entry(entry), Console())
