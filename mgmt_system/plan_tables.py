"""What the commands about plans and services print for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from catenary import durations, wire
from catenary.plans import PlanChange, PlanView, SegmentPlan, ServiceView
from mgmt_system.tables import cell, loads, segments, table


def changes(items: Sequence[PlanChange]) -> RenderableType:
    if not items:
        return Text("nothing to do: all is as the file says")
    rows = table("change", "what", "name", "from", "to")
    for item in items:
        old, new = (_said(values, whole=item.verb == "change") for values in (item.before, item.after))
        rows.add_row(item.verb, item.kind, item.name, cell(old), cell(new))
    return rows


def _said(values: Mapping[str, Any], *, whole: bool) -> str | None:
    """Keys and values on one line; unless `whole`, without what is empty."""
    shown = [f"{key}: {_value(value)}" for key, value in values.items() if whole or str(value) not in _EMPTY]
    return ", ".join(shown) or None


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + (_said(value, whole=False) or "") + "}"
    return " ".join(map(_value, value)) if isinstance(value, list) else str(value)


_EMPTY = ("None", "[]", "False")


def plan(view: PlanView) -> RenderableType:
    parts: list[RenderableType] = [changes(view.changes)]
    for segment in view.segments:
        parts += [Text(), *_segment(segment)]
    if view.changes and not view.refused:
        parts += [Text(), Text(f"plan {view.token}")]
    return Group(*parts)


def _segment(item: SegmentPlan) -> list[RenderableType]:
    sessions = f"{_count(item.stay)} sessions on chains that stay, {_count(item.leave)} on chains that go"
    end = "all pinned until they end"
    if any(chain.cut is not None for chain in item.cooling):
        end += " or are cut"
    parts: list[RenderableType] = [Text(f"segment {item.segment}: {sessions}, {end}")]
    shares = table("chain", "share of new sessions", "then")
    for share in item.shares:
        shares.add_row(share.chain, f"{share.before:.1%}", f"{share.after:.1%}")
    parts.append(shares)
    if item.cooling:
        cooling = table("cools down", "sessions", "at least", "p50", "p95", "cut by the deadline")
        for chain in item.cooling:
            times = (_time(chain.earliest), _time(chain.p50), _time(chain.p95))
            cut = None if chain.cut is None else f"{chain.cut:.0f}"
            cooling.add_row(chain.chain, _count(chain.sessions), *times, cell(cut))
        parts.append(cooling)
    return parts


def _count(value: int | None) -> str:
    return "?" if value is None else str(value)


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else durations.text(float(round(seconds)))


def operation(item: wire.OperationView) -> RenderableType:
    rows = table("operation", "kind", "chains", "done", "state", "reason")
    done = f"{item.done} of {len(item.chains)}"
    rows.add_row(item.id, item.kind, cell(" ".join(item.chains) or None), done, item.state, cell(item.reason))
    return rows


def services(items: Sequence[ServiceView]) -> RenderableType:
    rows = table("service", "segments", "chains", "sessions")
    for item in items:
        names = " ".join(segment.name for segment in item.segments)
        rows.add_row(item.name, names, str(len(item.chains)), cell(item.sessions))
    return rows


def service(item: ServiceView) -> RenderableType:
    parts = [services([item]), Text(), segments(item.segments), Text(), loads(item.chains)]
    return Group(*parts, *([Text(), classifier(item)] if item.classifier else []))


def classifier(item: ServiceView) -> RenderableType:
    """What enters and what passes by, with the new sessions of each since it does."""
    rows = table("traffic", *(f"new in {segment.name}" for segment in item.segments))
    for entry, traffic in enumerate(item.classifier):
        counts = [_at(segment.entered, entry) for segment in item.segments]
        rows.add_row(_said(traffic.model_dump(mode="json"), whole=False), *map(_count, counts))
    past = {
        chain.segment: chain.new_sessions
        for chain in item.chains
        if not chain.nfs and chain.state == "active"
    }
    rows.add_row("passes by", *(_count(past.get(segment.name)) for segment in item.segments))
    return rows


def _at(counts: Sequence[int] | None, entry: int) -> int | None:
    return counts[entry] if counts and entry < len(counts) else None
