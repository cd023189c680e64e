"""What belongs to a write beside its records: what it is called, what is forgotten with it, and its log."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

import structlog

from catenary import request_id
from catenary.chain import ChainState
from mgmt_system.journal import Event, Kind
from mgmt_system.records import ChainRecord, Goal
from mgmt_system.store import rows
from mgmt_system.store.snapshot import Snapshot, Stored

log = structlog.get_logger("mgmt_system")
R = TypeVar("R")
REMOVED_KEPT = 50
OPERATIONS_KEPT = 1000


def merged(
    stored: Mapping[str, Stored[R]], new: Mapping[str, Stored[R]], forget: Collection[str]
) -> Mapping[str, Stored[R]]:
    if not new and not forget:
        return stored
    after = {**stored, **new}
    for key in forget:
        after.pop(key, None)
    return after


def asked(before: ChainRecord | None, after: ChainRecord) -> Kind:
    """What a request wants of a chain."""
    if before is None:
        return "add"
    if before.goal is after.goal is Goal.PRESENT:
        return "weight"
    return "remove" if after.goal is Goal.ABSENT else "cancel"


def outdated(snapshot: Snapshot) -> list[str]:
    """What is forgotten with the next write: the oldest of removed chains and finished operations. What an
    apply removed is counted at its end."""
    removed = [record for record in snapshot.chains if record.state is ChainState.REMOVED]
    removed = [record for record in removed if record.operation is None]
    removed.sort(key=lambda record: record.changed)
    operations = snapshot.stored_operations.items()
    finished = [key for key, stored in operations if stored.record.state != "running"]
    return [rows.chain_key(record) for record in removed[:-REMOVED_KEPT]] + finished[:-OPERATIONS_KEPT]


def log_event(event: Event) -> None:
    """What the journal tells, the log tells too, under the ID of the request that asked for it."""
    with request_id.bound(event.author.request):
        log.info(
            "journal",
            kind=event.kind,
            segment=event.segment,
            chain=event.chain,
            operation=event.operation,
            changes={name: [before, after] for name, (before, after) in event.changes.items()},
            text=event.text,
            who=event.author.who,
            why=event.author.why,
        )
