"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Don't wait: print the operation and return.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the operation.", min=0.0)]
Why = Annotated[str | None, typer.Option("--why", help="Why, for the journal: see catenary history.")]
IfMatch = Annotated[
    str | None,
    typer.Option(
        "--if-match", help="Only if the chain is as it was read: its revision, by chain show --json."
    ),
]
IfListMatch = Annotated[
    str | None,
    typer.Option("--if-match", help="Only if all chains are as they were read, by chain list --revision."),
]
Revision = Annotated[
    bool, typer.Option("--revision", help="Print only the revision of what is shown, for --if-match.")
]
