"""Commands of operators for one session: `catenary session`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from catenary import wire
from catenary.client import ManagementClient
from catenary.session import SessionKey
from mgmt_system import tables
from mgmt_system.options import Json, Why

session_app = typer.Typer(no_args_is_help=True, help="Show, reset and move single sessions.")

Key = Annotated[
    list[str],
    typer.Argument(
        help="PROTOCOL END END, such as: tcp 10.0.0.1:4000 10.0.0.2:80, or udp [fd00::1]:53 [fd00::2]:4000; "
        "vlan=5 follows if its frames bear a tag of their own.",
        metavar="KEY",
    ),
]
Segment = Annotated[str | None, typer.Option(help="Segment; needed if several carry the session.")]


@session_app.command("show")
def show(key: Key, segment: Segment = None, json: Json = False) -> None:
    """Show a session and the chain that carries it.

    Example:

        catenary session show tcp 10.0.0.1:4000 10.0.0.2:80
    """
    text = SessionKey.parse(" ".join(key)).text
    with ManagementClient.from_environment() as client:
        session = client.session(text, segment)
    tables.show(session, json, tables.session)


@session_app.command("reset")
def reset(key: Key, segment: Segment = None, why: Why = None, json: Json = False) -> None:
    """Reset a TCP connection: both ends get a RST, each at its next packet.

    Example:

        catenary session reset tcp 10.0.0.1:4000 10.0.0.2:80
    """
    _end(key, "reset", segment, why, json)


@session_app.command("move")
def move(key: Key, segment: Segment = None, why: Why = None, json: Json = False) -> None:
    """Move a session to the least loaded other chain. NFs that keep state may refuse it there.

    Examples:

        catenary session move udp 10.0.0.1:53 10.0.0.2:4000

        catenary session move tcp [fd00::1]:4000 [fd00::2]:80
    """
    _end(key, "move", segment, why, json)


def _end(
    key: list[str], mode: Literal["reset", "move"], segment: str | None, why: str | None, json: bool
) -> None:
    text = SessionKey.parse(" ".join(key)).text
    with ManagementClient.from_environment(why) as client:
        session = client.end_session(wire.SessionRequest(key=text, mode=mode, segment=segment))
    tables.show(session, json, tables.session)
