"""The journal's nouns and how it is read backwards, as pure functions.

An entry says who changed what and why, and holds each field that changed with its value before and after.
So the chains of a past moment are those of the present with all later entries undone, newest first: nothing
else needs to be kept, and entries may be dropped from the old end at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from catenary import wire
from catenary.chain import Chain, ChainState
from catenary.tags import TagPair
from mgmt_system.records import Author, ChainRecord, Goal

Kind = wire.HistoryKind
Changes = Mapping[str, tuple[Any, Any]]
"""What changed, by name: the value before and after, as JSON has them; None where there was none."""


@dataclass(frozen=True)
class Event:
    """What happened, before it has its place in the journal.

    `id` is that of the chain's record, `operation` of the operation that it belongs to. `text` is for people.
    """

    kind: Kind
    author: Author
    changes: Changes
    segment: str | None = None
    chain: str | None = None
    id: str | None = None
    operation: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class JournalEntry:
    """An event with its number, counted from 1 without a gap, and its moment: s since the epoch.

    Moments never go back, whatever the clock does.
    """

    seq: int
    at: float
    event: Event


@dataclass(frozen=True)
class Retention:
    """How much journal is kept: `size` in bytes, `age` in seconds. The oldest entries go first."""

    size: int = 64_000_000
    age: float = 90 * 86400.0


@dataclass(frozen=True)
class Head:
    """Where the journal stands: `next` is the number of the entry to come, `first` of the oldest kept.

    `size` are the bytes kept; `since` is the moment of what was dropped last, or when the journal began: the
    chains of every moment from then on can be told. `oldest` and `latest` are the moments of the first and
    the last entry kept. `epochs` are the chain sets' that were told last, by segment; `verdicts` those of
    probes, by the ID of the chain's record, of all that are not up.
    """

    since: float
    oldest: float
    latest: float
    next: int = 1
    first: int = 1
    size: int = 0
    epochs: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)


def fields(record: ChainRecord) -> dict[str, Any]:
    """A chain's record, flat, as JSON has it."""
    chain = record.chain
    flat = {key: value for key, value in vars(record).items() if key != "chain"}
    return flat | {
        "name": chain.name,
        "nfs": list(chain.nfs),
        "tags": list(chain.tags.ids),
        "weight": chain.weight,
        "state": record.state.value,
        "goal": record.goal.value,
    }


def record(flat: Mapping[str, Any]) -> ChainRecord:
    """What `fields` was made of."""
    rest = dict(flat)
    name, nfs, tags, weight = (rest.pop(key) for key in ("name", "nfs", "tags", "weight"))
    state, goal = ChainState(rest.pop("state")), Goal(rest.pop("goal"))
    return ChainRecord(chain=Chain(name, tuple(nfs), TagPair(*tags), weight), state=state, goal=goal, **rest)


def difference(before: ChainRecord | None, after: ChainRecord) -> dict[str, tuple[Any, Any]]:
    """What changed of a chain.

    A chain that is removed leaves the journal's sight, and its record is forgotten some day: so all of what
    it was goes with that change.
    """
    old = _told(before) if before else {}
    new = _told(after)
    if after.state is ChainState.REMOVED:
        new = dict.fromkeys(new) | {"state": new["state"]}
    return {key: (old.get(key), value) for key, value in new.items() if old.get(key) != value}


def _told(record: ChainRecord) -> dict[str, Any]:
    """Without its operation: that is said of the event."""
    return {key: value for key, value in fields(record).items() if key != "operation"}


def chain_event(
    kind: Kind, author: Author, before: ChainRecord | None, after: ChainRecord, text: str | None = None
) -> Event:
    """The event that a chain's record changes."""
    operation = after.operation or (before.operation if before else None)
    changes = difference(before, after)
    return Event(kind, author, changes, after.segment, after.name, after.id, operation, text)


def rewind(present: Iterable[ChainRecord], entries: Iterable[JournalEntry]) -> list[ChainRecord]:
    """The chains that were not removed before `entries` happened, oldest first, without their operations.

    `present` are all chains of today; `entries` are all that came since, newest first.
    """
    chains = {item.id: fields(item) for item in present if item.state is not ChainState.REMOVED}
    for entry in entries:
        event = entry.event
        if event.id is None:
            continue
        flat = chains.pop(event.id, {}) | {key: before for key, (before, _) in event.changes.items()}
        if flat["state"] is not None:
            chains[event.id] = flat
    records = [record(flat | {"operation": None}) for flat in chains.values()]
    return sorted(records, key=lambda item: (item.created, item.name))
