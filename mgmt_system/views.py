"""Records as the REST service shows them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from catenary import wire
from mgmt_system.journal import JournalEntry
from mgmt_system.records import OperationRecord
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
        canary=record.canary,
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
    """A chain's view, also as JSON, and its status with a load that is unknown still: a list of a thousand is
    asked for often, and changes little."""

    view: wire.ChainView
    json: bytes
    status: wire.ChainStatus


def show_past(stored: StoredChain) -> Shown:
    """A chain of a past moment: why it waited nobody knows any more."""
    return _show(stored, stored.record.failure)


def _show(stored: StoredChain, reason: str | None) -> Shown:
    view = chain_view(stored, reason)
    status = wire.ChainStatus.model_construct(**vars(view))  # what has been checked is not checked again
    return Shown(view, view.model_dump_json().encode(), status)


class ChainViews:
    """Makes the view of each chain once, until the chain or its reason changes."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[StoredChain, Shown] = WeakKeyDictionary()

    def show(self, stored: StoredChain, reason: str | None) -> Shown:
        shown = self._made.get(stored)
        if shown is None or shown.view.reason != reason:
            shown = self._made[stored] = _show(stored, reason)
        return shown


def operation_view(operation: OperationRecord) -> wire.OperationView:
    rest = {key: value for key, value in vars(operation).items() if key != "author"}
    author = operation.author
    return wire.OperationView(**rest, who=author.who, why=author.why, request=author.request)


def entry_view(entry: JournalEntry) -> wire.HistoryEntry:
    event = {key: value for key, value in vars(entry.event).items() if key not in ("author", "id")}
    return wire.HistoryEntry(
        seq=entry.seq, at=entry.at, chain_id=entry.event.id, **event, **vars(entry.event.author)
    )
