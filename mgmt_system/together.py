"""What one apply changes in a segment, it changes together: pure functions of the records that bear its ID.

Chains that come are added in one epoch, once all of them are steered, and those that go leave in the same
one. If one that shall come fails, those that shall go stay: a segment never loses without what it gains.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from catenary.chain import ChainState, PairState
from mgmt_system.reconcile import Seen
from mgmt_system.records import ChainRecord, Goal, OperationRecord


def peers(record: ChainRecord, records: Collection[ChainRecord]) -> list[ChainRecord]:
    """The other chains of its segment that the same operation changes."""
    if record.operation is None:
        return []
    others = (other for other in records if other.operation == record.operation and other.id != record.id)
    return [other for other in others if other.segment == record.segment]


def hold(record: ChainRecord, others: Collection[ChainRecord]) -> str | None:
    """Why a chain waits for its peers; None: it need not."""
    joins = record.goal is Goal.PRESENT and record.state is ChainState.STEERED
    leaves = record.goal is Goal.ABSENT and record.state is ChainState.ACTIVE
    late = [other.name for other in others if _on_its_way(other)]
    if not late or not (joins or leaves):
        return None
    return f"what this segment gets and loses goes together: chain {', '.join(late)} is not steered yet"


def _on_its_way(record: ChainRecord) -> bool:
    return record.goal is Goal.PRESENT and record.state is ChainState.REQUESTED


def stays(record: ChainRecord, others: Collection[ChainRecord]) -> ChainRecord | None:
    """A chain that was to leave once one has failed that was to come; None: it goes its way."""
    leaves = record.goal is Goal.ABSENT and record.state is ChainState.ACTIVE
    failed = any(other.goal is Goal.FAILED for other in others)
    return replace(record, goal=Goal.PRESENT, deadline=None, then=None) if leaves and failed else None


def done(record: ChainRecord, seen: Seen) -> bool:
    """Is a chain what an apply wants of it, its weight at the master included?"""
    if not record.settled:
        return False
    if record.goal is not Goal.PRESENT or seen.plain:
        return True
    return seen.pair is PairState.ACTIVE and seen.weight in (None, record.chain.weight)


def end(
    operation: OperationRecord, members: Collection[ChainRecord], now: float, reason: str | None = None
) -> OperationRecord:
    """The operation once all of its chains are done; `reason` is what else went wrong."""
    faults = [
        f"chain {record.name!r}: {record.failure or 'failed'}"
        for record in members
        if record.state is ChainState.FAILED
    ]
    faults += [reason] if reason else []
    if any(record.state is ChainState.FAILED for record in members):
        faults.append("what was to be removed from its segment stays")
    counted = replace(
        operation,
        reset=sum(record.reset for record in members),
        moved=sum(record.moved for record in members),
    )
    return counted.finish("failed" if faults else "succeeded", now, "; ".join(faults) or None)
