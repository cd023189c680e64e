"""The picture of `catenary top`: what all chains carry now, as fits a terminal of a given size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from catenary import moments
from catenary.traffic import ChainTraffic, CoolDownProgress, TrafficSample
from mgmt_system import figures, tables
from mgmt_system.watching import Scene

_STYLES = {"active": "green", "cooling": "yellow", "cordoned": "cyan", "failed": "red"}
_BAR = 10


@dataclass(frozen=True)
class _Column:
    """Shown where the terminal has `width` columns or more."""

    name: str
    width: int
    cell: Callable[[ChainTraffic], Text]
    right: bool = True


_COLUMNS = (
    _Column("segment", 90, lambda row: Text(row.segment), right=False),
    _Column("chain", 0, lambda row: Text(row.name), right=False),
    _Column("state", 0, lambda row: _state(row), right=False),
    _Column("sessions", 0, lambda row: Text(figures.count(row.sessions))),
    _Column("share", 50, lambda row: Text(figures.share(row.share))),
    _Column("", 110, lambda row: _bar(row.share), right=False),
    _Column("new/s", 60, lambda row: Text(figures.per_second(row.new))),
    _Column("to servers", 74, lambda row: Text(figures.bits(row.forward))),
    _Column("to clients", 74, lambda row: Text(figures.bits(row.reverse))),
)


def picture(scene: Scene, width: int, height: int) -> RenderableType:
    """All of it in `height` lines of `width` columns; what has no room is counted."""
    sample = scene.now
    if sample is None:
        return Text(scene.fault or "no sample yet", style="red" if scene.fault else "")
    head = _head(scene, sample)
    faults = [Text(text, "red", no_wrap=True, overflow="ellipsis") for text in _faults(scene)]
    cooling = [_cooling(item, sample.at, width) for item in sample.cooling]
    events = [
        Text(tables.entry(event), style="dim", no_wrap=True, overflow="ellipsis") for event in scene.events
    ]
    room = max(1, height - len(head) - len(faults) - 1)
    cooling = cooling[: max(0, room // 3)]
    room -= len(cooling) + (1 if cooling else 0)
    shown = min(len(sample.chains), max(1, room - min(len(events) + 1, room // 3)))
    lines: list[RenderableType] = [*head, *faults, _chains(sample.chains, shown, width)]
    room -= shown
    if shown < len(sample.chains):
        lines.append(Text(f"and {len(sample.chains) - shown} more chains", style="dim"))
        room -= 1
    lines += [Text(), *cooling] if cooling else []
    lines += [Text(), *events[1 - room :]] if events and room > 1 else []
    return Group(*lines)


def _head(scene: Scene, sample: TrafficSample) -> list[Text]:
    total = figures.totals(sample.chains)
    cooling = f" ({total.cooling} cooling)" if total.cooling else ""
    segments = f"{len(sample.segments)} segments, " if len(sample.segments) > 1 else ""
    first = f"{moments.iso(sample.at)}  {segments}{total.chains} chains{cooling}"
    second = (
        f"{figures.count(total.sessions)} sessions, {figures.per_second(total.new)} new/s, "
        f"{figures.bits(total.forward)} to servers, {figures.bits(total.reverse)} to clients"
    )
    states = ", ".join(f"{name} {figures.count(number)}" for name, number in figures.states(sample).items())
    lines = [Text(first, "bold"), Text(second), *([Text(states)] if states else [])]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _faults(scene: Scene) -> list[str]:
    found = [scene.fault] if scene.fault else []
    return found + [f"{one.name}: {one.reason}" for one in scene.services if not one.ok]


def _chains(rows: Sequence[ChainTraffic], shown: int, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = [column for column in _COLUMNS if width >= column.width]
    for column in columns:
        justify = "right" if column.right else "left"
        table.add_column(column.name, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for row in figures.busiest(rows)[:shown]:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def _state(row: ChainTraffic) -> Text:
    state = figures.state(row)
    return Text(state, style=_STYLES.get(state, ""))


def _bar(share: float | None) -> Text:
    filled = round((share or 0.0) * _BAR)
    return Text("━" * filled + " " * (_BAR - filled), style="cyan")


def _cooling(item: CoolDownProgress, now: float, width: int) -> Text:
    progress = figures.progress(item, now)
    filled = round((progress.done or 0.0) * _BAR)
    bar = f"{'━' * filled}{'─' * (_BAR - filled)} " if width >= 60 else ""
    left = f", {figures.count(item.left)} of {figures.count(item.sessions)} sessions left"
    text = f"{bar}{item.chain}: {progress.text}{left if item.ended is None else ''}"
    return Text(text, style="yellow", no_wrap=True, overflow="ellipsis")
