"""The panels that only show, as HTML: every number bears its exact value as `data-value`. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from math import sqrt

from catenary import wire
from catenary.chain import ChainState
from catenary.config import ServiceConfig
from catenary.traffic import ChainTraffic, CoolDownProgress, SegmentTraffic, TrafficSample
from mgmt_system import figures, tables

LANES = 12
"""Chains that the topology shows one by one."""
EVENTS = 30
_THIN, _THICK = 2, 14


def _number(key: str, value: float | None, text: str) -> str:
    shown = "" if value is None else repr(value)
    return f'<span class="num" data-key="{escape(key)}" data-value="{shown}">{escape(text)}</span>'


def totals(rows: Sequence[ChainTraffic]) -> str:
    """The line of large numbers at the top."""
    found = figures.totals(rows)
    cooling = f" ({found.cooling} cooling)" if found.cooling else ""
    cards = (
        ("chains", f"chains{cooling}", found.chains, figures.count(found.chains)),
        ("sessions", "live sessions", found.sessions, figures.count(found.sessions)),
        ("new", "new a second", found.new, figures.per_second(found.new)),
        ("forward", "to servers", found.forward, figures.bits(found.forward)),
        ("reverse", "to clients", found.reverse, figures.bits(found.reverse)),
    )
    return "".join(
        f'<div class="card"><div class="card-title">{title}</div>{_number(f"total-{key}", value, text)}</div>'
        for key, title, value, text in cards
    )


def topology(
    config: ServiceConfig,
    segment: str | None,
    sample: TrafficSample,
    chains: Mapping[str, wire.ChainView],
    painted: Mapping[str, str],
) -> str:
    """Each segment as it is wired: clients, master, its chains, slave, servers. The busier, the thicker."""
    names = [segment] if segment else list(config.segments)
    heaviest = max((_load(row) for row in sample.chains), default=0.0)
    wide = len(names) == 1
    parts = []
    for name in names:
        rows = [row for row in sample.chains if row.segment == name]
        lanes = (
            _lanes(config, rows, chains, painted, heaviest) if wide else _bundle(rows, sum(map(_load, rows)))
        )
        parts.append(_segment(config, name, lanes, headed=not wide))
    return "".join(parts)


def _segment(config: ServiceConfig, name: str, lanes: str, *, headed: bool) -> str:
    entry = config.segments[name]
    head = f"<h3>{escape(name)}</h3>" if headed else ""
    before = "".join(_nf(config, nf) for nf in entry.before)
    after = "".join(_nf(config, nf) for nf in entry.after)
    return (
        f'<div class="segment" role="group" aria-label="segment {escape(name)}">{head}'
        f'<div class="end">clients{before}</div>{_balancer(config, entry.master, "master")}'
        f'<ul class="lanes">{lanes}</ul>'
        f'{_balancer(config, entry.slave, "slave")}<div class="end">{after}servers</div></div>'
    )


def _balancer(config: ServiceConfig, name: str, role: str) -> str:
    at = config.balancers[name].switch
    return f'<div class="lb"><b>{escape(name)}</b><small>{role} at {escape(at)}</small></div>'


def _nf(config: ServiceConfig, name: str) -> str:
    entry = config.nfs.get(name)
    at = f"<small>{escape(entry.switch)}</small>" if entry else ""
    return f'<span class="nf">{escape(name)}{at}</span>'


def _lanes(
    config: ServiceConfig,
    rows: Sequence[ChainTraffic],
    chains: Mapping[str, wire.ChainView],
    painted: Mapping[str, str],
    heaviest: float,
) -> str:
    busiest = {row.name for row in figures.busiest(rows)[:LANES]}
    shown = [row for row in rows if row.name in busiest]
    lanes = [_lane(config, row, chains.get(row.name), painted, heaviest) for row in shown]
    rest = [row for row in rows if row.name not in busiest]
    if not rows:
        return '<li class="lane-none">no chain: nothing passes</li>'
    return "".join(lanes) + (_bundle(rest, heaviest, more=True) if rest else "")


def _lane(
    config: ServiceConfig,
    row: ChainTraffic,
    chain: wire.ChainView | None,
    painted: Mapping[str, str],
    heaviest: float,
) -> str:
    nfs = "".join(_nf(config, nf) for nf in (chain.nfs if chain else []))
    state = figures.state(row)
    reason = f'<div class="lane-reason">{escape(chain.reason)}</div>' if chain and chain.reason else ""
    style = f"--w:{_width(_load(row), heaviest)}px;--c:{painted.get(row.name, 'var(--others)')}"
    return (
        f'<li class="lane" style="{style}"><div class="lane-name"><b>{escape(row.name)}</b> '
        f'<span class="state {state}">{state}</span></div><div class="lane-path">{nfs}</div>'
        f'<div class="lane-load">{_number(f"lane-rate-{row.name}", _load(row), figures.bits(_load(row)))}'
        f"<small>{_number(f'lane-sessions-{row.name}', row.sessions, figures.count(row.sessions))} sessions"
        f"</small></div>{reason}</li>"
    )


def _bundle(rows: Sequence[ChainTraffic], heaviest: float, *, more: bool = False) -> str:
    found = figures.totals(rows)
    load = found.forward + found.reverse
    words = f"{figures.count(found.chains)} {'more ' if more else ''}chain{'' if found.chains == 1 else 's'}"
    cooling = f' <span class="state cooling">{found.cooling} cooling</span>' if found.cooling else ""
    style = f"--w:{_width(load, heaviest)}px;--c:var(--others)"
    return (
        f'<li class="lane" style="{style}"><div class="lane-name"><b>{words}</b>{cooling}</div>'
        f'<div class="lane-path"></div><div class="lane-load"><span class="num">{figures.bits(load)}</span>'
        f"<small>{figures.count(found.sessions)} sessions</small></div></li>"
    )


def _load(row: ChainTraffic) -> float:
    return (row.forward or 0.0) + (row.reverse or 0.0)


def _width(load: float, heaviest: float) -> int:
    return _THIN + round((_THICK - _THIN) * sqrt(load / heaviest)) if heaviest else _THIN


def states(segments: Iterable[SegmentTraffic]) -> str:
    """Live sessions by state, as bars; and how full the tables are."""
    segments = list(segments)
    found: dict[str, int] = {}
    for segment in segments:
        for name, number in segment.states.items():
            found[name] = found.get(name, 0) + number
    total = sum(found.values())
    bars = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="num">'
        f"{_number(f'state-{name}', number, figures.count(number))}</td>"
        f'<td class="bar"><i style="width:{100 * number / total if total else 0:.1f}%"></i></td></tr>'
        for name, number in found.items()
    )
    pins = sum(segment.pins or 0 for segment in segments)
    room = sum(segment.capacity or 0 for segment in segments)
    full = "".join(
        f'<p class="warn">the session table of {escape(segment.name)} overflows</p>'
        for segment in segments
        if segment.overflow
    )
    share = figures.share(pins / room) if room else figures.UNKNOWN
    used = (
        f"{_number('pins', pins, figures.count(pins))} pins, {share} of the table{'s' * (len(segments) > 1)}"
    )
    return f'<table class="states"><tbody>{bars}</tbody></table><p class="note">{used}</p>{full}'


def cooldowns(items: Iterable[CoolDownProgress], now: float) -> str:
    """Each cool-down on a scale of time, with what was predicted marked on it."""
    rows = [_cooldown(item, now) for item in items]
    return "".join(rows) or '<p class="note">no chain is cooling down</p>'


def _cooldown(item: CoolDownProgress, now: float) -> str:
    progress = figures.progress(item, now)
    scale = max(item.p95 or 0.0, progress.elapsed, 1.0) * 1.05
    marks = "".join(
        f'<u style="left:{100 * at / scale:.1f}%" title="{word}"></u>'
        for at, word in ((item.p50, "predicted, 1 in 2"), (item.p95, "predicted, 19 in 20"))
        if at is not None
    )
    done = round(100 * (progress.done or 0.0))
    state = "over" if item.ended is not None else "cooling"
    left = (
        f"{_number(f'left-{item.chain}', item.left, figures.count(item.left))} of "
        f"{_number(f'of-{item.chain}', item.sessions, figures.count(item.sessions))} sessions left"
    )
    return (
        f'<div class="cooldown {state}"><div class="row"><b>{escape(item.chain)}</b><span>{left}</span></div>'
        f'<div class="time" role="progressbar" aria-label="cool-down of {escape(item.chain)}" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{done}">'
        f'<i style="width:{100 * progress.elapsed / scale:.1f}%"></i>{marks}</div>'
        f'<p class="note" data-key="cooldown-{escape(item.chain)}" data-p50="{item.p50}" '
        f'data-p95="{item.p95}">{escape(progress.text)}</p></div>'
    )


def events(entries: Sequence[wire.HistoryEntry]) -> str:
    """The newest first."""
    rows = "".join(
        f'<li data-seq="{entry.seq}"><time datetime="{_iso(entry.at)}">{_iso(entry.at)[11:19]}</time>'
        f"<span>{escape(tables.what(entry))}</span></li>"
        for entry in reversed(entries[-EVENTS:])
    )
    return (
        f'<ol class="events" tabindex="0" aria-label="events">{rows}</ol>'
        if rows
        else '<p class="note">nothing has happened yet</p>'
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def chain_rows(
    rows: Sequence[ChainTraffic], chains: Mapping[str, wire.ChainView], verbs: Container[str]
) -> list[dict[str, str | float | None]]:
    """The table of chains: each figure as text, and exact under `raw_`. `verbs` are those on offer."""
    found = []
    for row in rows:
        chain = chains.get(row.name)
        exact = row.model_dump(include={"sessions", "share", "new", "forward", "reverse"})
        found.append(
            {
                "name": row.name,
                "segment": row.segment,
                "nfs": (" ".join(chain.nfs) or "(passes by)") if chain else "",
                "tags": f"{chain.tags.forward},{chain.tags.reverse}" if chain else "",
                "weight": chain.weight if chain else None,
                "state": figures.state(row),
                "reason": (chain.reason if chain else None) or "",
                "verbs": " ".join(verb for verb in _verbs(row, chain) if verb in verbs),
                "sessions": figures.count(row.sessions),
                "share": figures.share(row.share),
                "new": figures.per_second(row.new),
                "forward": figures.bits(row.forward),
                "reverse": figures.bits(row.reverse),
                "health": tables.health(row.health),
                "raw_health": row.health.latency_ms if row.health else None,
                **{f"raw_{key}": value for key, value in exact.items()},
            }
        )
    return found


def _verbs(row: ChainTraffic, chain: wire.ChainView | None) -> Sequence[str]:
    """What may be asked of a chain now."""
    match row.state:
        case ChainState.COOLING:
            return "cancel", "remove"  # a removal under way may be given a deadline
        case ChainState.ACTIVE:
            promote = ["promote"] if chain and chain.canary is not None and not row.cordoned else []
            return *promote, "uncordon" if row.cordoned else "cordon", "remove"
        case ChainState.REQUESTED | ChainState.STEERED:
            return ("remove",)
        case _:
            return ()
