"""What one apply changes in a segment, it changes together: pure functions of the records that bear its ID.

Chains that come are added in one epoch, once all of them are steered, and those that go leave in the same
one. If one that shall come fails, those that shall go stay: a segment never loses without what it gains.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from catenary.chain import ChainState, PairState
from mgmt_system.reconcile import Seen
from mgmt_system.records import ChainRecord, Goal, OperationRecord

Groups = Mapping[tuple[str, str], list[ChainRecord]]


def groups(records: Collection[ChainRecord]) -> Groups:
    """The chains that each operation changes in each segment."""
    found: dict[tuple[str, str], list[ChainRecord]] = {}
    for record in records:
        if record.operation is not None:
            found.setdefault((record.operation, record.segment), []).append(record)
    return found


def peers(record: ChainRecord, groups: Groups) -> list[ChainRecord]:
    """The other chains of its segment that the same operation changes."""
    together = groups.get((record.operation, record.segment), []) if record.operation else []
    return [other for other in together if other.id != record.id]


def hold(record: ChainRecord, others: Collection[ChainRecord], waiting: Collection[str]) -> str | None:
    """Why a chain waits for its peers; None: it need not. `waiting` are the IDs of those that can't go on."""
    joins = record.goal is Goal.PRESENT and record.state is ChainState.STEERED
    leaves = record.goal is Goal.ABSENT and record.state is ChainState.ACTIVE
    coming = [other for other in others if other.goal is Goal.PRESENT and not other.settled]
    late = [
        other.name
        for other in coming
        if other.state is ChainState.REQUESTED or (leaves and other.id in waiting)
    ]
    if not late or not (joins or leaves):
        return None
    return f"what this segment gets and loses goes together: chain {', '.join(late)} is not ready yet"


def stays(record: ChainRecord, others: Collection[ChainRecord]) -> ChainRecord | None:
    """A chain that was to leave once one has failed that was to come; None: it goes its way."""
    leaves = record.goal is Goal.ABSENT and record.state is ChainState.ACTIVE
    failed = any(other.failure for other in others)
    return replace(record, goal=Goal.PRESENT, deadline=None, then=None) if leaves and failed else None


def done(record: ChainRecord, seen: Seen) -> bool:
    """Is a chain what an apply wants of it, its weight and what passes by at the master included?"""
    if not record.settled:
        return False
    if record.goal is not Goal.PRESENT or seen.plain:
        return True
    known = seen.pair is PairState.ACTIVE and seen.classified is not False
    return known and seen.weight in (None, record.chain.weight)


def end(
    operation: OperationRecord, members: Collection[ChainRecord], now: float, reason: str | None = None
) -> OperationRecord:
    """The operation once all of its chains are done; `reason` is what else went wrong."""
    failures = [f"chain {record.name!r}: {record.failure}" for record in members if record.failure]
    stayed = ["what was to be removed from its segment stays"] if failures else []
    faults = [*failures, *stayed, *([reason] if reason else [])]
    counted = replace(
        operation,
        reset=sum(record.reset for record in members),
        moved=sum(record.moved for record in members),
    )
    return counted.finish("failed" if faults else "succeeded", now, "; ".join(faults) or None)
