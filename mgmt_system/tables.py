"""What the commands print: a table for people, or the JSON of the REST answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from catenary import moments, sizes, wire
from catenary.chain import ChainState

T = TypeVar("T")


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
    healths = [item.health if isinstance(item, wire.ChainStatus) else None for item in items]
    probed = ("health",) if any(healths) else ()
    rows = table("chain", "segment", "state", "NFs", "tags", "weight", *ended, *probed, "reason")
    for item, known in zip(items, healths, strict=True):
        counts = (str(item.reset), str(item.moved)) if ended else ()
        told = (health(known),) if probed else ()
        rows.add_row(*_chain_cells(item), str(item.weight), *counts, *told, cell(item.reason))
    return rows


def chain(item: wire.ChainView) -> RenderableType:
    return chains([item])


def operation(item: wire.OperationView) -> RenderableType:
    rows = table("operation", "kind", "chain", "state", "reason")
    rows.add_row(item.id, item.kind, item.chain, item.state, cell(item.reason))
    return rows


def operations(items: Sequence[wire.OperationView]) -> RenderableType:
    if not items:
        return Text("no operation: those that are long over are forgotten")
    rows = table("operation", "begun", "kind", "chains", "state", "by", "reason")
    for item in items:
        chains = item.chain or f"{item.done} of {len(item.chains)}"
        begun = moments.iso(item.created)
        rows.add_row(item.id, begun, item.kind, chains, item.state, cell(item.who), cell(item.reason))
    return rows


def line(text: str, console: Console) -> None:
    """Print one line, of whatever length, as it is."""
    console.print(Text(text), soft_wrap=True)


def entry(item: wire.HistoryEntry) -> str:
    """`2026-03-01T14:30:00Z 12 remove main chain-1, goal present -> absent, by ann@ops from ::1: worn`."""
    return f"{moments.iso(item.at)} {item.seq} {what(item)}"


def what(item: wire.HistoryEntry) -> str:
    """The same without moment and number."""
    subject = (name for name in (item.segment, item.chain) if name)
    changes = item.changes
    if "state" in changes and changes["state"][1] == ChainState.REMOVED:
        changes = {"state": changes["state"]}  # all the rest goes with it
    if item.kind == "fault":  # whose text names the part
        told = [after or f"{part} is well again" for part, (_, after) in changes.items()]
    elif item.kind == "health":  # whose text has the figures
        told = [_brief(*changes["verdict"])]
    else:
        told = [_change(key, *change) for key, change in changes.items() if key not in _UNTOLD]
    where = f" from {item.address}" if item.address else ""
    by = f"by {item.who}{where}" + (f": {item.why}" if item.why else "")
    return ", ".join([" ".join([item.kind, *subject]), *filter(None, [*told, item.text]), by])


_UNTOLD = ("id", "name", "segment", "created", "changed", "operation", "p50", "p95")
"""Fields of a chain's record that an entry says otherwise, or that only machines need."""


def _change(key: str, before: Any, after: Any) -> str | None:
    if key in ("reset", "moved") and not after:  # what a deadline ended: nothing yet
        return None
    if key == "deadline":
        before, after = (None if at is None else moments.iso(at) for at in (before, after))
    return f"{key} {_brief(before, after)}"


def _brief(before: object, after: object) -> str:
    match before, after:
        case None, dict() if "state" not in after:  # a part of the configuration
            return "added"
        case dict(), None if "state" not in before:
            return "taken away"
        case None, _:
            return _word(after)
    return f"{_word(before)} -> {_word(after)}"


def _word(value: object) -> str:
    match value:
        case None:
            return "none"
        case list():
            return ",".join(map(str, value))
        case {"state": state, "weight": weight}:  # a tag pair at a load balancer
            return f"{state} weight {weight}"
        case dict():
            return " ".join(f"{key} {_word(item)}" for key, item in value.items())
    return str(value)


def ended_session(item: wire.SessionStatus) -> RenderableType:
    rows = table("session", "state", "segment", "chain", "tags")
    tags = f"{item.tags.forward},{item.tags.reverse}" if item.tags else None
    rows.add_row(cell(item.key), item.state, item.segment, cell(item.chain), cell(tags))
    return rows


def rebalanced(item: wire.Rebalanced) -> RenderableType:
    moved = (
        [Text(f"{item.moved} idle sessions let go: their next packet places them anew")] if item.moved else []
    )
    return Group(chain_set(item), *moved)


def chain_set(item: wire.ChainSet) -> RenderableType:
    rows = table("tags", "weight", "state")
    for pair in item.pairs:
        rows.add_row(f"{pair.forward},{pair.reverse}", str(pair.weight), pair.state)
    return Group(Text(f"segment {item.segment}, epoch {item.epoch}"), rows)


def status(view: wire.StatusView) -> RenderableType:
    rows = table("service", "url", "well", "reason")
    for service in view.services:
        rows.add_row(service.name, service.url, "yes" if service.ok else "NO", cell(service.reason))
    parts = [segments(view.segments), loads(view.chains), _counters(view)]
    if view.standbys:
        parts.insert(0, standbys(view.standbys))
    return Group(rows, *(it for part in parts for it in (Text(), part)))


def standbys(items: Sequence[wire.StandbyStatus]) -> RenderableType:
    rows = table("standby of", "segment", "role", "url", "state", "in step", "last message", "reason")
    for item in items:
        silent = None if item.silent is None or item.state != "following" else f"{item.silent:.2f} s ago"
        step = "yes" if item.in_step else "NO"
        place = (item.balancer, item.segment, item.role, item.url)
        rows.add_row(*place, cell(item.state), step, cell(silent), cell(item.reason))
    return rows


def segments(items: Sequence[wire.SegmentStatus]) -> RenderableType:
    rows = table("segment", "master", "slave", "pair", "epoch")
    for item in items:
        pair = {True: "inserted", False: "not in the way", None: None}[item.inserted]
        if item.adopting:
            pair = f"adopting for {item.adopting:.0f} s"
        if item.gone or item.around:
            lost = f"{' and '.join(item.gone)} gone" if item.gone else "coming back"
            pair = f"{lost}: traffic {'led around' if item.around else 'STOPS'}"
        rows.add_row(item.name, item.master, item.slave, cell(pair), cell(item.epoch))
    return rows


def segment(item: wire.SegmentView) -> RenderableType:
    rows = table("segment", "pair")
    rows.add_row(item.name, "inserted" if item.inserted else "not in the way")
    return rows


def loads(items: Sequence[wire.ChainStatus]) -> RenderableType:
    if not items:
        return chains([])
    probed = any(item.health for item in items)
    columns = ("chain", "segment", "state", "NFs", "tags", "sessions", "share", "new", "carried")
    rows = table(*columns, *(["health"] if probed else []), "reason")
    for item in items:
        share = None if item.share is None else f"{item.share:.0%}"
        carried = None if item.bytes is None else sizes.text(item.bytes)
        loads = (cell(item.sessions), cell(share), cell(item.new_sessions), cell(carried))
        told = [health(item.health)] if probed else []
        rows.add_row(*_chain_cells(item), *loads, *told, cell(item.reason))
    return rows


def health(item: wire.PairHealth | None) -> str:
    """What probes say of a chain, `up 0.42 ms`; the latency is that of the last one, if it came back.

    `down, 2 of 8 back`: it answers again, and more must come back, for it flaps.
    """
    if item is None:
        return "-"
    if item.verdict == "down" and item.row:
        return f"down, {item.row} of {item.needed} back"
    return item.verdict if item.latency_ms is None else f"{item.verdict} {item.latency_ms:.3g} ms"


def _counters(view: wire.StatusView) -> RenderableType:
    """Counters that are not zero, a column for each load balancer."""
    rows = table("counter", *view.counters)
    names = sorted({name for counters in view.counters.values() for name in counters})
    for name in names:
        values = [counters.get(name, 0) for counters in view.counters.values()]
        if any(values):
            rows.add_row(name, *map(str, values))
    return rows if rows.rows else Text("nothing counted yet")


def _chain_cells(item: wire.ChainView) -> tuple[str, ...]:
    state = f"{item.state}, cordoned" if item.cordoned else item.state
    state += f", canary {item.canary} %" if item.canary is not None else ""
    nfs = " ".join(item.nfs) or "(passes by)"
    return item.name, item.segment, state, nfs, f"{item.tags.forward},{item.tags.reverse}"


def table(*columns: str) -> Table:
    rows = Table(box=None, pad_edge=False)
    for column in columns:
        rows.add_column(column, overflow="fold")
    return rows


def cell(value: object) -> Text:
    """Text and not markup: reasons may hold brackets."""
    return Text("-" if value is None else str(value))
