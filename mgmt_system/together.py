"""What one apply changes in a segment, it changes together: pure functions of the records that bear its ID.

Chains that come are added in one epoch, once all of them are steered, and those that go leave in the same
one: until all that comes is there, or comes with that epoch, they serve as before. If one that shall come
fails, those that shall go stay: a segment never loses without what it gains.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from catenary.chain import ChainState, PairState
from catenary.classifier import Rule
from mgmt_system.reconcile import Action, Become, Do, Seen, Step
from mgmt_system.records import ChainRecord, Goal, OperationRecord

_BRINGING = (Do(Action.ADD_PAIR), Do(Action.CANCEL), Become(ChainState.ACTIVE))
_REMOVAL = Do(Action.REMOVE_PAIR)
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


def brings(step: Step) -> bool:
    """Does a step bring a chain to its segment, or back to it?"""
    return step in _BRINGING


def leaves(record: ChainRecord, step: Step) -> bool:
    """Does it serve still, and shall not? One that was taken back and is to leave again may serve, too."""
    serves = record.state is ChainState.ACTIVE or step == _REMOVAL
    return record.goal is Goal.ABSENT and serves


def hold(
    record: ChainRecord, step: Step, others: Collection[ChainRecord], ready: Collection[str]
) -> str | None:
    """Why a chain waits for its peers; None: it need not. `ready` are the IDs of those that can come."""
    joins = record.goal is Goal.PRESENT and record.state is ChainState.STEERED
    coming = [other for other in others if other.goal is Goal.PRESENT and not other.settled]
    late = [
        other.name
        for other in coming
        if other.id not in ready and (other.state is ChainState.REQUESTED or leaves(record, step))
    ]
    if not late or not (joins or leaves(record, step)):
        return None
    return f"what this segment gets and loses goes together: chain {', '.join(late)} is not ready yet"


def stays(
    record: ChainRecord, step: Step, others: Collection[ChainRecord], rules: Callable[[str], Sequence[Rule]]
) -> ChainRecord | None:
    """A chain that was to leave once one has failed that was to come; None: it goes its way.

    So does a bypass of a segment without `rules`: nothing passes by there.
    """
    if not leaves(record, step) or not any(other.failure for other in others):
        return None
    if record.chain.bypass and not rules(record.segment):
        return None
    return replace(record.kept(), goal=Goal.PRESENT)


def done(record: ChainRecord, see: Callable[[ChainRecord], Seen]) -> bool:
    """Is a chain what an apply wants of it, its weight and what passes by at the master included?

    `see` is not asked for one that is gone: so may be its segment.
    """
    if not record.settled or record.goal is not Goal.PRESENT:
        return record.settled
    seen = see(record)
    if seen.plain:
        return True
    known = seen.pair is PairState.ACTIVE and seen.classified is not False
    return known and seen.weight in (None, record.chain.weight)


def end(
    operation: OperationRecord, members: Collection[ChainRecord], now: float, reason: str | None = None
) -> OperationRecord:
    """The operation once all of its chains are done; `reason` is what else went wrong."""
    failures = [f"chain {record.name!r}: {record.failure}" for record in members if record.failure]
    stayed = ["what was to be removed from its segment stays"] if failures else []
    faults = list(filter(None, [operation.reason, *failures, *stayed, reason]))
    counted = replace(
        operation,
        reset=sum(record.reset for record in members),
        moved=sum(record.moved for record in members),
    )
    return counted.finish("failed" if faults else "succeeded", now, "; ".join(faults) or None)
