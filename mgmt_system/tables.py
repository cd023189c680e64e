"""What the commands print: a table for people, or the JSON of the REST answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from catenary import wire

T = TypeVar("T")
_SI = ("B", "kB", "MB", "GB", "TB", "PB")


def show(value: T, json: bool, render: Callable[[T], RenderableType]) -> None:
    """Print `value` on stdout. Not into a terminal, lines are as long as they need to be."""
    if json:
        adapter: TypeAdapter[Any] = TypeAdapter(type(value) if not isinstance(value, list) else list[Any])
        print(adapter.dump_json(value, indent=2).decode())
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(render(value))


def chains(items: Sequence[wire.ChainView]) -> RenderableType:
    if not items:
        return Text("no chain: add one with catenary chain add --nf NF")
    ended = ("reset", "moved") if any(item.reset or item.moved for item in items) else ()
    table = _table("chain", "segment", "state", "NFs", "tags", "weight", *ended, "reason")
    for item in items:
        counts = (str(item.reset), str(item.moved)) if ended else ()
        table.add_row(*_chain_cells(item), str(item.weight), *counts, _cell(item.reason))
    return table


def chain(item: wire.ChainView) -> RenderableType:
    return chains([item])


def operation(item: wire.OperationView) -> RenderableType:
    table = _table("operation", "kind", "chain", "state", "reason")
    table.add_row(item.id, item.kind, item.chain, item.state, _cell(item.reason))
    return table


def session(item: wire.SessionStatus) -> RenderableType:
    table = _table("session", "state", "segment", "chain", "tags")
    tags = f"{item.tags.forward},{item.tags.reverse}" if item.tags else None
    table.add_row(_cell(item.key), item.state, item.segment, _cell(item.chain), _cell(tags))
    return table


def rebalanced(item: wire.Rebalanced) -> RenderableType:
    moved = (
        [Text(f"{item.moved} idle sessions let go: their next packet places them anew")] if item.moved else []
    )
    return Group(chain_set(item), *moved)


def chain_set(item: wire.ChainSet) -> RenderableType:
    table = _table("tags", "weight", "state")
    for pair in item.pairs:
        table.add_row(f"{pair.forward},{pair.reverse}", str(pair.weight), pair.state)
    return Group(Text(f"segment {item.segment}, epoch {item.epoch}"), table)


def status(view: wire.StatusView) -> RenderableType:
    services = _table("service", "url", "well", "reason")
    for service in view.services:
        services.add_row(service.name, service.url, "yes" if service.ok else "NO", _cell(service.reason))
    return Group(services, Text(), segments(view.segments), Text(), _loads(view), Text(), _counters(view))


def segments(items: Sequence[wire.SegmentStatus]) -> RenderableType:
    table = _table("segment", "master", "slave", "pair", "epoch")
    for item in items:
        pair = {True: "inserted", False: "not in the way", None: None}[item.inserted]
        if item.adopting:
            pair = f"adopting for {item.adopting:.0f} s"
        table.add_row(item.name, item.master, item.slave, _cell(pair), _cell(item.epoch))
    return table


def segment(item: wire.SegmentView) -> RenderableType:
    table = _table("segment", "pair")
    table.add_row(item.name, "inserted" if item.inserted else "not in the way")
    return table


def _loads(view: wire.StatusView) -> RenderableType:
    if not view.chains:
        return chains([])
    columns = ("chain", "segment", "state", "NFs", "tags", "sessions", "share", "new", "carried", "reason")
    table = _table(*columns)
    for item in view.chains:
        share = None if item.share is None else f"{item.share:.0%}"
        loads = (_cell(item.sessions), _cell(share), _cell(item.new_sessions), _size(item.bytes))
        table.add_row(*_chain_cells(item), *loads, _cell(item.reason))
    return table


def _counters(view: wire.StatusView) -> RenderableType:
    """Counters that are not zero, a column for each load balancer."""
    table = _table("counter", *view.counters)
    names = sorted({name for counters in view.counters.values() for name in counters})
    for name in names:
        values = [counters.get(name, 0) for counters in view.counters.values()]
        if any(values):
            table.add_row(name, *map(str, values))
    return table if table.rows else Text("nothing counted yet")


def _chain_cells(item: wire.ChainView) -> tuple[str, ...]:
    state = f"{item.state}, cordoned" if item.cordoned else item.state
    return item.name, item.segment, state, " ".join(item.nfs), f"{item.tags.forward},{item.tags.reverse}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cell(value: object) -> Text:
    """Text and not markup: reasons may hold brackets."""
    return Text("-" if value is None else str(value))


def _size(size: int | None) -> Text:
    if size is None:
        return _cell(None)
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_SI) - 1:
        value, unit = value / 1000, unit + 1
    return Text(f"{value:.0f} {_SI[unit]}" if unit == 0 else f"{value:.1f} {_SI[unit]}")
