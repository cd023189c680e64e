"""Commands of operators for sessions: `catenary sessions`, and for one: `catenary session`."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Annotated, Literal

import typer

from catenary import durations, wire
from catenary.client import ManagementClient
from catenary.session import SessionKey
from mgmt_system import session_tables, tables
from mgmt_system.capture_cli import At
from mgmt_system.options import Json, Why

PAGE = 500
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
    tables.show(session, json, session_tables.session)


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
    tables.show(session, json, tables.ended_session)


class Sort(StrEnum):
    AGE = "age"
    IDLE = "idle"
    BYTES = "bytes"
    RATE = "rate"


def sessions(
    chain: Annotated[str | None, typer.Option(help="Those of one chain.")] = None,
    segment: Annotated[str | None, typer.Option(help="Those of one segment.")] = None,
    state: Annotated[
        str | None,
        typer.Option(help="opening, established, reopening, closing, udp, neighbour, other or reset."),
    ] = None,
    older: Annotated[str | None, typer.Option(help="Placed this long ago or longer: 60s, 5m.")] = None,
    idle: Annotated[str | None, typer.Option(help="Without a packet for this long: 60s, 5m.")] = None,
    sort: Annotated[
        Sort, typer.Option(help="The largest first; rate is bytes a second since a session was placed.")
    ] = Sort.AGE,
    ended: Annotated[
        bool, typer.Option("--ended", help="Those that ended lately, in place of live ones.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    at: Annotated[At, typer.Option(help="Who holds them: master (the clients' side) or slave.")] = At.MASTER,
    json: Json = False,
) -> None:
    """List sessions: where each goes, for how long it has lived, and what it carried.

    Examples:

        catenary sessions --sort rate

        catenary sessions --chain chain-2 --state established --older 5m --idle 60s

        catenary sessions --ended --sort bytes --limit 100 --json
    """
    wanted = {
        "chain": chain,
        "segment": segment,
        "state": state,
        "older": None if older is None else durations.parse(older),
        "idle": None if idle is None else durations.parse(idle),
        "sort": sort.value,
        "ended": ended or None,
        "limit": min(limit, PAGE),
        "at": at.value,
    }
    with ManagementClient.from_environment() as client:
        found = list(islice(client.sessions(**wanted), limit))
    tables.show(found, json, session_tables.sessions)
