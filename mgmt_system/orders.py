"""What the engine says to the other parts, as values: pure functions of steps and records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from catenary import wire
from mgmt_system.reconcile import Action, Do, Step
from mgmt_system.records import ChainRecord

T = TypeVar("T")
_GROUPS = {
    Action.ADD_PAIR: "change",
    Action.CANCEL: "change",
    Action.REMOVE_PAIR: "change",
    Action.WEIGH: "weights",
}
"""Steps that go together in one call: a change is one epoch, one atomic switch of the table (rule 4)."""


def steer_request(record: ChainRecord) -> wire.SteerRequest:
    """What the controller must know of a chain."""
    tags = wire.Tags.of(record.chain.tags)
    return wire.SteerRequest(segment=record.segment, tags=tags, nfs=list(record.chain.nfs))


def pair_add(record: ChainRecord) -> wire.PairAdd:
    """A chain's tag pair with its weight."""
    tags = record.chain.tags
    return wire.PairAdd(forward=tags.forward, reverse=tags.reverse, weight=record.chain.weight)


def change(steps: Sequence[tuple[Action, ChainRecord]]) -> wire.Change:
    """Steps of one segment as one change of its master's chain set."""

    def tags(action: Action) -> list[wire.Tags]:
        return [wire.Tags.of(record.chain.tags) for done, record in steps if done is action]

    return wire.Change(
        add=[pair_add(record) for action, record in steps if action is Action.ADD_PAIR],
        remove=tags(Action.REMOVE_PAIR),
        cancel=tags(Action.CANCEL),
        forget=tags(Action.FORGET_PAIR),
    )


def told(steps: Sequence[tuple[Action, ChainRecord]]) -> str:
    """Such a change in words: `add pair chain-2, remove pair chain-1`."""
    return ", ".join(
        f"{action} {', '.join(record.name for done, record in steps if done is action)}"
        for action in dict.fromkeys(action for action, _ in steps)
    )


def batches(tasks: Iterable[T], step: Callable[[T], Step], segment: Callable[[T], str]) -> list[list[T]]:
    """Tasks as they go together, in the order of the first of each."""
    groups: dict[tuple[str, str], list[T]] = {}
    found = []
    for task in tasks:
        do = step(task)
        group = _GROUPS.get(do.action) if isinstance(do, Do) else None
        if group is None:
            found.append([task])
        elif (group, segment(task)) in groups:
            groups[group, segment(task)].append(task)
        else:
            groups[group, segment(task)] = [task]
            found.append(groups[group, segment(task)])
    return found
