"""Which steps of chains go together in one call."""

from __future__ import annotations

from catenary.chain import Chain, ChainState
from catenary.tags import TagPair
from mgmt_system.reconcile import Action, Do
from mgmt_system.records import ChainRecord, Goal
from mgmt_system.store.snapshot import StoredChain
from mgmt_system.tasks import STEERED_AT_ONCE, Task, batches, steer_requests
from tests.unit.mgmt_fakes import Site


def task(number: int, action: Action, segment: str = "main") -> Task:
    chain = Chain(f"c{number}", ("n1",), TagPair(2 * number, 2 * number + 1))
    record = ChainRecord("op", chain, segment, ChainState.REQUESTED, Goal.PRESENT, 0.0, 0.0)
    return Task(StoredChain(record, 1), Do(action))


def test_chains_of_a_segment_are_steered_together_but_not_too_many() -> None:
    count = 2 * STEERED_AT_ONCE + 1
    tasks = [task(number, Action.STEER) for number in range(1, count + 1)]
    found = batches([*tasks, task(1000, Action.STEER, "other"), task(1001, Action.ADD_PAIR)])
    assert [len(batch) for batch in found] == [STEERED_AT_ONCE, STEERED_AT_ONCE, 1, 1, 1]
    assert [item for batch in found[:3] for item in batch] == tasks
    assert list(steer_requests(item.record for item in found[2])) == [f"c{count}"]


def test_a_change_of_the_chain_set_is_never_split() -> None:
    tasks = [task(number, Action.ADD_PAIR) for number in range(1, 3 * STEERED_AT_ONCE)]
    assert batches(tasks) == [tasks]


def test_one_that_the_controller_refuses_does_not_hold_up_the_others() -> None:
    site = Site()
    site.controller.down = True
    for nf in ("n1", "lonely", "n2"):
        site.add(nf, name=f"with-{nf}")
    site.controller.down = False
    site.settle()
    assert site.states() == {"with-n1": "active", "with-lonely": "failed", "with-n2": "active"}
    site.close()
