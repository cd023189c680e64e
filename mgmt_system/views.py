"""Records as the REST service shows them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from catenary import wire
from mgmt_system.journal import JournalEntry
from mgmt_system.records import ChainRecord, OperationRecord
from mgmt_system.store.snapshot import StoredChain


def chain_view(stored: StoredChain, reason: str | None) -> wire.ChainView:
    """`reason` says why it waits or failed."""
    record = stored.record
    return wire.ChainView(
        name=record.name,
        segment=record.segment,
        nfs=list(record.chain.nfs),
        tags=wire.Tags.of(record.chain.tags),
        weight=record.chain.weight,
        cordoned=record.uncordoned is not None,
        state=record.state,
        reason=reason,
        revision=str(stored.revision) if stored.revision else None,
        created=record.created,
        changed=record.changed,
        deadline=record.deadline,
        then=record.then,
        reset=record.reset,
        moved=record.moved,
        p50=record.p50,
        p95=record.p95,
    )


@dataclass(frozen=True)
class Shown:
    """A chain with its view, also as JSON: a list of a thousand is asked for often, and changes little."""

    stored: StoredChain
    view: wire.ChainView
    json: bytes


class ChainViews:
    """Makes the view of each chain once, until the chain or its reason changes."""

    def __init__(self) -> None:
        self._last: dict[str, Shown] = {}

    def show(self, chains: Iterable[StoredChain], reason: Callable[[ChainRecord], str | None]) -> list[Shown]:
        last, now = self._last, {}
        for stored in chains:
            shown, why = last.get(stored.record.id), reason(stored.record)
            if shown is None or shown.stored is not stored or shown.view.reason != why:
                view = chain_view(stored, why)
                shown = Shown(stored, view, view.model_dump_json().encode())
            now[stored.record.id] = shown
        self._last = now
        return list(now.values())


def operation_view(operation: OperationRecord) -> wire.OperationView:
    rest = {key: value for key, value in vars(operation).items() if key != "author"}
    author = operation.author
    return wire.OperationView(**rest, who=author.who, why=author.why, request=author.request)


def entry_view(entry: JournalEntry) -> wire.HistoryEntry:
    event = {key: value for key, value in vars(entry.event).items() if key not in ("author", "id")}
    return wire.HistoryEntry(
        seq=entry.seq, at=entry.at, chain_id=entry.event.id, **event, **vars(entry.event.author)
    )
