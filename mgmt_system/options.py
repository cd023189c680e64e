"""Options that several commands share, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catenary.errors import CatenaryError, InvalidValue

COMPLETION_S = 1.0
"""How long whoever presses TAB waits for names."""


def _chains(begun: str) -> list[str]:
    """For completion: whatever goes wrong, there are no names."""
    # Imported here: no command that is run should wait for it.
    from catenary.client import ManagementClient

    try:
        with ManagementClient.from_environment(timeout=COMPLETION_S) as client:
            return [chain.name for chain in client.chains() if chain.name.startswith(begun)]
    except CatenaryError:
        return []


ChainName = Annotated[str, typer.Argument(help="Name of the chain.", autocompletion=_chains)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Don't wait: print the operation and return.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the operation.", min=0.0)]
EtcdCa = Annotated[
    Path | None,
    typer.Option("--etcd-ca", help="With etcds://: CA of its nodes (PEM) [default: the system's]."),
]
EtcdCert = Annotated[
    Path | None, typer.Option("--etcd-cert", help="With etcds://: what its nodes are shown (PEM).")
]
EtcdKey = Annotated[Path | None, typer.Option("--etcd-key", help="Its key (PEM).")]
EtcdUser = Annotated[
    Path | None,
    typer.Option("--etcd-user-file", help="With etcd: a file with USER:PASSWORD, for its owner's eyes only."),
]
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


def tags_of(text: str) -> dict[str, int]:
    """Two numbers; whether they can be tags is for the model to say, as it does in the service."""
    try:
        forward, reverse = (int(part) for part in text.strip(" ()").replace("-", ",").split(","))
    except ValueError:
        raise InvalidValue(f"{text!r} is not a tag pair: write FORWARD,REVERSE such as 2,3") from None
    return {"forward": forward, "reverse": reverse}
