"""`catenary explain`: where a session goes, hop by hop, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from catenary import sizes
from catenary.client import ManagementClient
from catenary.explanations import Explanation, HopView, SegmentExplanation
from catenary.session import Directed
from mgmt_system import tables
from mgmt_system.options import Json

SessionArgument = Annotated[
    list[str],
    typer.Argument(
        help="A session: '10.0.0.1:4242 -> 10.0.0.2:80/tcp', or tcp 10.0.0.1:4242 10.0.0.2:80.",
        metavar="SESSION",
    ),
]


def explain(
    session: SessionArgument,
    segment: Annotated[str | None, typer.Option(help="Only in this segment.")] = None,
    json: Json = False,
) -> None:
    """Say where a session goes, in both directions and hop by hop, and why.

    Of one that is over it says where it went, of one that there never was where it would go: if the end
    before the arrow is the client's. The counters of the hops are those of all sessions of the chain.

    Examples:

        catenary explain '10.0.0.1:4242 -> 10.0.0.2:80/tcp'

        catenary explain udp [fd00::1]:53 [fd00::2]:4000 --segment main --json
    """
    asked = Directed.parse(" ".join(session)).text
    with ManagementClient.from_environment() as client:
        told = client.explain(asked, segment)
    tables.show(told, json, explanation)


def explanation(told: Explanation) -> RenderableType:
    parts: list[RenderableType] = [Text(told.summary)]
    for item in told.segments:
        parts += [Text(), *_segment(item)]
    return Group(*parts)


def _segment(item: SegmentExplanation) -> list[RenderableType]:
    state = f", which is {item.chain_state}" if item.chain_state else ""
    chain = f"chain {item.chain}{state}" if item.chain else "no chain"
    parts: list[RenderableType] = [Text(f"segment {item.segment}: {chain}", style="bold")]
    if item.path:
        parts.append(Text(f"  {' -> '.join(item.path)}, and back the same way"))
    parts += [_line("because", text) for text in item.because[:1]]
    parts += [_line("", text) for text in item.because[1:]]
    parts += [_line("missing", text) for text in item.faults]
    ways = (("client to server", item.forward, "forward"), ("server to client", item.reverse, "reverse"))
    for name, hops, tag in ways:
        if hops:
            vid = getattr(item.tags, tag) if item.tags else "?"
            parts += [Text(f"  {name}, tag {vid}"), Padding(_hops(hops), (0, 0, 0, 4))]
    return parts


def _line(head: str, text: str) -> RenderableType:
    line = tables.table("", "")
    line.show_header = False
    line.add_row(f"  {head:8}", Text(text))
    return line


_COUNTED = "chain's packets", "chain's bytes"
"""The counters are not of the session alone."""


def _hops(hops: Sequence[HopView]) -> RenderableType:
    rows = tables.table("", "from", "switch", "matches", "does", "to", *_COUNTED)
    for number, hop in enumerate(hops, 1):
        match = " ".join(f"{name}={value}" for name, value in hop.match.items())
        counted = (str(hop.packets), sizes.text(hop.bytes)) if hop.installed else ("NOT THERE", "")
        rows.add_row(str(number), hop.source, hop.switch, match, " ".join(hop.actions), hop.target, *counted)
    return rows
