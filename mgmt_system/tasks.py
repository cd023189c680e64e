"""Steps that are due, which of them go together, and how calls name a chain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from catenary import wire
from catenary.classifier import Rule
from catenary.config import SegmentConfig
from mgmt_system.peers import CONTROLLER
from mgmt_system.reconcile import Action, Become, Do
from mgmt_system.records import ChainRecord
from mgmt_system.store.snapshot import StoredChain


@dataclass(frozen=True)
class Task:
    """A step that is due."""

    stored: StoredChain
    step: Do | Become

    @property
    def record(self) -> ChainRecord:
        return self.stored.record

    @property
    def action(self) -> Action:
        """That of a step which is a call."""
        assert isinstance(self.step, Do)
        return self.step.action


STEERED_AT_ONCE = 50
"""Chains in one call to the controller: far more would keep it busy for longer than anybody waits."""
_GROUPS = {
    Action.STEER: "steer",
    Action.ADD_PAIR: "change",
    Action.CANCEL: "change",
    Action.REMOVE_PAIR: "change",
    Action.CLASSIFY: "change",
    Action.WEIGH: "weights",
}
"""Steps that go together in one call: a change is one epoch, one atomic switch of the table (rule 4).

The controller steers many chains in little more time than one.
"""


def batches(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks as they go together, in the order of the first of each."""
    groups: dict[tuple[str, str], list[Task]] = {}
    found = []
    for task in tasks:
        group = _GROUPS.get(task.step.action) if isinstance(task.step, Do) else None
        if group is None:
            found.append([task])
            continue
        batch = groups.get((group, task.record.segment), [])
        if not batch or (task.step == Do(Action.STEER) and len(batch) == STEERED_AT_ONCE):
            batch = groups[group, task.record.segment] = []
            found.append(batch)
        batch.append(task)
    return found


def change(batch: Sequence[Task], rules: Sequence[Rule]) -> wire.Change:
    """Steps of one segment as one change of its master's chain set.

    The `rules` of its classifier go with the chain for what passes by: they come, change and go with it.
    """

    def tags(action: Action) -> list[wire.Tags]:
        return [wire.Tags.of(task.record.chain.tags) for task in batch if task.action is action]

    return wire.Change(
        add=[pair_add(task.record) for task in batch if task.action is Action.ADD_PAIR],
        remove=tags(Action.REMOVE_PAIR),
        cancel=tags(Action.CANCEL),
        forget=tags(Action.FORGET_PAIR),
        classifier=_classifier(batch, rules),
    )


def _classifier(batch: Sequence[Task], rules: Sequence[Rule]) -> list[wire.TrafficRule] | None:
    """The classifier from this change on; None: it stays as it is."""
    actions = {task.action for task in batch if task.record.chain.bypass} - {Action.FORGET_PAIR}
    if not actions:
        return None
    # Where one bypass takes the place of another, the new one's come.
    gone = actions == {Action.REMOVE_PAIR}
    return [] if gone else [wire.TrafficRule.of(rule) for rule in rules]


def told(batch: Sequence[Task]) -> str:
    """Such a change in words: `add pair chain-2, remove pair chain-1`."""
    return ", ".join(
        f"{action} {', '.join(task.record.name for task in batch if task.action is action)}"
        for action in dict.fromkeys(task.action for task in batch)
    )


def pair_add(record: ChainRecord) -> wire.PairAdd:
    """A chain's tag pair with its weight."""
    tags = record.chain.tags
    chain = record.chain
    return wire.PairAdd(forward=tags.forward, reverse=tags.reverse, weight=chain.weight, bypass=chain.bypass)


def pair_weight(record: ChainRecord) -> wire.PairWeight:
    """The same for a chain that is there."""
    tags = record.chain.tags
    return wire.PairWeight(forward=tags.forward, reverse=tags.reverse, weight=record.chain.weight)


def steer_requests(records: Iterable[ChainRecord]) -> dict[str, wire.SteerRequest]:
    """What the controller must know of chains, by name."""
    return {
        record.name: wire.SteerRequest(
            segment=record.segment, tags=wire.Tags.of(record.chain.tags), nfs=list(record.chain.nfs)
        )
        for record in records
    }


def services(segment: SegmentConfig, action: Action) -> list[str]:
    """The parts that a step of a chain in this segment calls, by name."""
    if action in (Action.STEER, Action.UNSTEER):
        return [CONTROLLER]
    asks_both = action in (Action.POLL, Action.END)
    return [segment.master, segment.slave] if asks_both else [segment.master]
