"""The state machine as a table: recorded and seen in, next step out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catenary.chain import Chain, ChainState, PairState
from catenary.errors import CatenaryError, Conflict, Unauthorized, Unavailable
from catenary.tags import TagPair
from mgmt_system.reconcile import (
    NOT_SAID,
    Action,
    Become,
    Do,
    Seen,
    Sight,
    Step,
    Wait,
    conclude,
    decide,
    refused,
    succeeded,
)
from mgmt_system.records import ChainRecord, Goal, OperationRecord

UNKNOWN, GONE = Sight.UNKNOWN, Sight.ABSENT
ACTIVE, COOLING, DRAINED = PairState.ACTIVE, PairState.COOLING, PairState.DRAINED


def record(state: str, goal: str = "present") -> ChainRecord:
    chain = Chain("chain-1", ("n1",), TagPair(2, 3))
    return ChainRecord("op-1", chain, "main", ChainState(state), Goal(goal), created=1.0, changed=1.0)


@pytest.mark.parametrize(
    "state, goal, steered, pair, step",
    [
        ("requested", "present", None, UNKNOWN, Do(Action.STEER)),
        ("steered", "present", True, GONE, Do(Action.ADD_PAIR)),
        ("steered", "present", False, GONE, Do(Action.STEER)),
        ("steered", "present", None, UNKNOWN, Do(Action.STEER)),
        ("active", "present", True, ACTIVE, Wait()),
        ("active", "present", None, UNKNOWN, Wait()),
        ("active", "present", False, GONE, Do(Action.STEER)),
        ("active", "present", None, GONE, Do(Action.ADD_PAIR)),
        ("cooling", "present", True, COOLING, Do(Action.CANCEL)),
        ("cooling", "present", True, DRAINED, Do(Action.CANCEL)),
        ("cooling", "present", True, ACTIVE, Become(ChainState.ACTIVE)),
        ("cooling", "present", True, GONE, Do(Action.ADD_PAIR)),
        ("cooling", "present", False, COOLING, Do(Action.STEER)),
        ("requested", "absent", None, UNKNOWN, Do(Action.UNSTEER)),
        ("requested", "failed", None, UNKNOWN, Do(Action.UNSTEER)),
        ("steered", "absent", True, GONE, Do(Action.UNSTEER)),
        ("steered", "absent", True, ACTIVE, Become(ChainState.COOLING)),
        ("active", "absent", True, ACTIVE, Do(Action.REMOVE_PAIR)),
        ("active", "absent", True, COOLING, Become(ChainState.COOLING)),
        ("active", "absent", True, GONE, Become(ChainState.COOLING)),
        ("cooling", "absent", True, COOLING, Do(Action.POLL)),
        ("cooling", "absent", None, UNKNOWN, Do(Action.POLL)),
        ("cooling", "absent", False, COOLING, Do(Action.STEER)),
        ("cooling", "absent", True, ACTIVE, Do(Action.REMOVE_PAIR)),
        ("drained", "absent", True, DRAINED, Do(Action.FORGET_PAIR)),
        ("drained", "absent", True, GONE, Do(Action.UNSTEER)),
        ("drained", "absent", True, COOLING, Become(ChainState.COOLING)),
        ("removed", "absent", None, UNKNOWN, Wait()),
        ("failed", "failed", None, UNKNOWN, Wait()),
        ("failed", "absent", None, UNKNOWN, Do(Action.UNSTEER)),
    ],
)
def test_the_next_step(
    state: str, goal: str, steered: bool | None, pair: PairState | Sight, step: Step
) -> None:
    assert decide(record(state, goal), Seen(steered, pair, plain=False), 1.0) == step


@pytest.mark.parametrize(
    "state, goal, pair, plain, step",
    [
        ("steered", "present", UNKNOWN, True, Become(ChainState.ACTIVE)),
        ("steered", "present", GONE, None, Wait(NOT_SAID)),
        ("active", "present", GONE, True, Wait()),
        ("active", "present", GONE, None, Wait(NOT_SAID)),
        ("active", "present", ACTIVE, None, Wait()),
        ("cooling", "present", UNKNOWN, True, Become(ChainState.ACTIVE)),
        ("cooling", "present", COOLING, None, Wait(NOT_SAID)),
        ("active", "absent", UNKNOWN, True, Do(Action.UNSTEER)),
        ("cooling", "absent", UNKNOWN, True, Do(Action.UNSTEER)),
        ("cooling", "absent", COOLING, True, Do(Action.POLL)),
    ],
)
def test_the_next_step_of_a_chain_whose_pair_may_not_be_inserted(
    state: str, goal: str, pair: PairState | Sight, plain: bool | None, step: Step
) -> None:
    assert decide(record(state, goal), Seen(True, pair, plain=plain), 1.0) == step


@pytest.mark.parametrize("state", ["steered", "active", "drained"])
def test_nothing_is_undone_before_the_master_was_heard(state: str) -> None:
    step = decide(record(state, "absent"), Seen(steered=True), 1.0)
    assert isinstance(step, Wait)
    assert step.reason is not None


def test_an_active_chain_says_which_switch_is_missing() -> None:
    seen = Seen(steered=True, pair=ACTIVE, waiting_for=("s3",))
    assert decide(record("active"), seen, 1.0) == Wait("the controller waits for switch s3")


def test_a_pair_that_somebody_else_removed_is_not_fought_over() -> None:
    step = decide(record("active"), Seen(steered=True, pair=COOLING), 1.0)
    assert isinstance(step, Wait)
    assert "says cooling" in str(step.reason)


@pytest.mark.parametrize(
    "state, goal, action, after",
    [
        ("requested", "present", Action.STEER, "steered"),
        ("active", "present", Action.STEER, "active"),
        ("steered", "present", Action.ADD_PAIR, "active"),
        ("active", "present", Action.ADD_PAIR, "active"),
        ("active", "absent", Action.REMOVE_PAIR, "cooling"),
        ("cooling", "absent", Action.POLL, "drained"),
        ("drained", "absent", Action.FORGET_PAIR, "drained"),
        ("drained", "absent", Action.UNSTEER, "removed"),
        ("steered", "failed", Action.UNSTEER, "failed"),
    ],
)
def test_the_state_after_a_step(state: str, goal: str, action: Action, after: str) -> None:
    before = record(state, goal)
    done = succeeded(before, action, now=9.0)
    assert done.state == after
    assert done.changed == (1.0 if after == state else 9.0)


@pytest.mark.parametrize("error", [Unavailable("down"), Unauthorized("no token"), CatenaryError("bug")])
def test_errors_that_may_heal_change_nothing(error: CatenaryError) -> None:
    assert refused(record("requested"), Action.STEER, error) == record("requested")


@pytest.mark.parametrize("state, failed", [("requested", True), ("steered", True), ("active", False)])
def test_a_refusal_ends_a_new_chain_but_never_one_that_carries_sessions(state: str, failed: bool) -> None:
    after = refused(record(state), Action.STEER, Conflict("no path"))
    expected = replace(record(state), goal=Goal.FAILED, failure="no path") if failed else record(state)
    assert after == expected


@pytest.mark.parametrize(
    "state, goal, end",
    [
        ("active", "present", "succeeded"),
        ("removed", "absent", "succeeded"),
        ("failed", "failed", "failed"),
        ("steered", "present", None),
        ("drained", "absent", None),
    ],
)
def test_an_operation_ends_with_its_chain(state: str, goal: str, end: str | None) -> None:
    operation = OperationRecord("op-1", "add", "chain-1", "running", 1.0)
    before = replace(record(state, goal), operation="op-1")
    after, ended = conclude(before, operation, now=9.0)
    assert (ended.state if ended else None) == end
    assert after.operation == (None if end else "op-1")


def test_a_chain_that_cant_be_taken_back_goes_on_leaving() -> None:
    cancel = OperationRecord("op-2", "cancel", "chain-1", "running", 1.0)
    after = refused(replace(record("cooling"), operation="op-2"), Action.CANCEL, Conflict("it is closed"))
    assert after.goal is Goal.ABSENT
    chain, ended = conclude(after, cancel, 2.0, "it is closed")
    assert chain.operation is None
    assert ended is not None
    assert (ended.state, ended.reason) == ("failed", "it is closed")
