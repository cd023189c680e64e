"""A replay in words: figures and claims, tables, and all of it as plain data. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from experiments.replay.comparing import Difference, Kind, Outcome, differences
from experiments.replay.sessions import Split
from experiments.replay.setting import Setting
from experiments.summary import Claim, Figure

SHOWN = 5
"""Differences that are printed; the file has all."""
_NEVER = (
    "crossed",
    "strange_alerts",
    "alerts_lost",
    "alerts_doubled",
    "alerts_new",
    "delivered_otherwise",
    "witness_failures",
    "frames_missed",
)
_ENOUGH = 10
"""So many sessions a chain, and none of three is left without one but in 5 of a million captures."""


@dataclass(frozen=True)
class Comparison:
    """Two outcomes by their names, and how the second differs from the first."""

    first: str
    second: str
    differences: tuple[Difference, ...]


def compared(outcomes: Sequence[Outcome]) -> tuple[Comparison, ...]:
    """The first is the single instance: all others beside it, and those that follow beside the second.

    Where sessions are placed says something only of the latter. What both comparisons would tell is told of
    the first: alerts and deliveries.
    """
    single, *others = outcomes
    found = [
        Comparison(single.name, other.name, differences(single, other, placed=False)) for other in others
    ]
    return (
        *found,
        *(
            Comparison(others[0].name, other.name, _placed(differences(others[0], other)))
            for other in others[1:]
        ),
    )


def _placed(found: Sequence[Difference]) -> tuple[Difference, ...]:
    return tuple(difference for difference in found if difference.kind is Kind.PLACED)


def claims(split: Split, settings: Sequence[Setting]) -> list[Claim]:
    """Of coarser keys than sessions, or of few of them, a chain may well get none."""
    spread = all(
        setting.affinity == "session" and len(split.sessions) >= _ENOUGH * setting.chains
        for setting in settings
    )
    return [Claim(key, at_least=0, at_most=0) for key in (*_NEVER, *(["idle_chains"] if spread else []))]


def figures(split: Split, outcomes: Sequence[Outcome], found: Sequence[Comparison]) -> dict[str, Figure]:
    """Of all runs together, the single instance's among them."""
    counts = [difference.kind for comparison in found for difference in comparison.differences]
    first = outcomes[0]
    return {
        "sessions": Figure(len(split.sessions), "sessions"),
        "packets": Figure(split.packets, "packets a run"),
        "delivered_whole": Figure(
            sum(delivery.whole for delivery in first.deliveries.values()), "sessions, single instance"
        ),
        "alerts": Figure(first.total.total(), "alerts, single instance"),
        "crossed": Figure(sum(len(outcome.crossed) for outcome in outcomes), "sessions"),
        "idle_chains": Figure(sum(outcome.idle for outcome in outcomes), "chains without a session"),
        "strange_alerts": Figure(sum(len(outcome.strange) for outcome in outcomes), "alerts"),
        "alerts_lost": Figure(counts.count(Kind.LOST), "sessions' alerts"),
        "alerts_doubled": Figure(counts.count(Kind.DOUBLED), "sessions' alerts"),
        "alerts_new": Figure(counts.count(Kind.NEW), "sessions' alerts"),
        "delivered_otherwise": Figure(counts.count(Kind.DELIVERED), "sessions"),
        "placed_otherwise": Figure(counts.count(Kind.PLACED), "sessions"),
        "witness_failures": Figure(sum(len(outcome.failures) for outcome in outcomes), "findings"),
        "frames_missed": Figure(sum(outcome.missed for outcome in outcomes), "frames"),
    }


def about(split: Split) -> list[str]:
    """What was made of the capture, a line each."""
    lines = [f"{split.frames} frames: {split.packets} packets of {len(split.sessions)} sessions"]
    lines += [f"left out: {count} frames {reason}" for reason, count in split.left_out.items()]
    if split.cut:
        lines.append(f"cut into TCP segments: {split.cut} packets longer than the MTU (segmentation offload)")
    if split.corrected:
        lines.append(f"checksums corrected: {split.corrected} packets (checksum offload)")
    return lines


def table(outcomes: Sequence[Outcome]) -> Table:
    """Sessions and alerts of each chain in each run."""
    found = Table(title="Where sessions went, and what was said of them")
    for name in ("run", "chain"):
        found.add_column(name)
    for name in ("sessions", "alerts"):
        found.add_column(name, justify="right")
    for outcome in outcomes:
        shares = outcome.shares()
        for number, (chain, alarms) in enumerate(outcome.alarms.items()):
            name = "" if number else outcome.name
            found.add_row(
                name, chain, str(shares[chain]), str(len(alarms)), end_section=chain == [*shares][-1]
            )
    return found


def details(outcomes: Sequence[Outcome], found: Sequence[Comparison]) -> list[str]:
    """What was wrong or another, a line each; of differences the first `SHOWN` of each comparison."""
    lines = []
    for outcome in outcomes:
        lines += [f"{outcome.name}: {text}" for text in outcome.failures]
        lines += [f"{outcome.name}: on several chains: {session}" for session in outcome.crossed]
        lines += [f"{outcome.name}: an alert without its session: {text}" for text in outcome.strange]
        for count, text in ((outcome.again, "again, or too late"), (outcome.foreign, "from an NF itself")):
            lines += [f"{outcome.name}: {count} packets came {text}"] if count else []
    for comparison in found:
        names = f"{comparison.first} -> {comparison.second}"
        lines += [f"{names}: {difference}" for difference in comparison.differences[:SHOWN]]
        more = len(comparison.differences) - SHOWN
        lines += [f"{names}: {more} more differences, in replay.json"] if more > 0 else []
    return lines


def plain(split: Split, outcomes: Sequence[Outcome], found: Sequence[Comparison]) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "capture": {
            "frames": split.frames,
            "packets": split.packets,
            "sessions": len(split.sessions),
            "left_out": dict(split.left_out),
            "corrected": split.corrected,
            "cut": split.cut,
        },
        "runs": [_plain(outcome) for outcome in outcomes],
        "comparisons": [
            {
                "from": comparison.first,
                "to": comparison.second,
                "differences": [vars(difference) for difference in comparison.differences],
            }
            for comparison in found
        ],
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "setting": outcome.name,
        "sessions_of_chains": outcome.shares(),
        "alerts_of_chains": {
            chain: [vars(alarm) for alarm in alarms] for chain, alarms in outcome.alarms.items()
        },
        "crossed": list(outcome.crossed),
        "strange_alerts": list(outcome.strange),
        "failures": list(outcome.failures),
        "again": outcome.again,
        "foreign": outcome.foreign,
        "frames_missed": outcome.missed,
        "sessions": [
            {"session": session, "chains": list(outcome.placements.get(session, ())), **vars(delivery)}
            for session, delivery in outcome.deliveries.items()
        ],
    }
