"""What the commands about sessions print for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from catenary import durations, sizes
from catenary.wire import SegmentSession
from mgmt_system.tables import cell, table

COLUMNS = ("session", "chain", "segment", "state", "age", "idle", "rate", "bytes", "packets", "ended")


def cells(item: SegmentSession) -> dict[str, str | None]:
    """What is told of a session, by column."""
    times = (_time(item.age), _time(item.idle), f"{sizes.text(round(item.rate))}/s")
    carried = (sizes.text(item.bytes), str(item.packets), _end(item))
    found = (item.key, item.chain, item.segment, item.state, *times, *carried)
    return dict(zip(COLUMNS, found, strict=True))


def sessions(items: Sequence[SegmentSession]) -> RenderableType:
    if not items:
        return Text("no such session")
    over = any(item.ended for item in items)
    columns = COLUMNS if over else COLUMNS[:-1]
    rows = table(*columns)
    for item in items:
        told = cells(item)
        rows.add_row(*(cell(told[column]) for column in columns))
    return rows


def session(item: SegmentSession) -> RenderableType:
    """With how it got its chain."""
    return Group(sessions([item]), Text(), Text(_story(item)))


def _story(item: SegmentSession) -> str:
    origin = item.origin
    told = [f"{origin.cause.replace('_', ' ')} in epoch {origin.epoch}"]
    if origin.policy is not None:
        told.append(f"by {origin.policy}")
    if origin.load is not None:
        told.append(f"with {origin.load} live sessions on its chain")
    if origin.other is not None:
        other = item.other_chain or f"{origin.other.forward},{origin.other.reverse}"
        told.append(f"and {origin.other_load} on {other}")
    if item.foreign:
        told.append("seen by the other load balancer only")
    return ", ".join(told)


def _end(item: SegmentSession) -> str | None:
    if item.ended is None:
        return None
    return f"{item.ended.why.replace('_', ' ')} {_time(item.ended.ago)} ago"


def _time(seconds: float) -> str:
    return durations.text(float(round(seconds)))
