"""Every pair of answers to "active?", and the verdict."""

from __future__ import annotations

import pytest

from catenary.chain import PairState
from mgmt_system.cooldown import Activity, judge

COOLING, CLOSED, DRAINED = PairState.COOLING, PairState.CLOSED, PairState.DRAINED


def activity(name: str, state: PairState | None, active: bool, sessions: int = 0) -> Activity:
    return Activity(name, state, active, sessions)


@pytest.mark.parametrize(
    "master, slave, reason",
    [
        ((COOLING, True, 3), (COOLING, True, 1), "3 sessions at l1, 1 session at l2"),
        ((COOLING, True, 0), (COOLING, False, 0), "l1 says cooling"),
        ((CLOSED, True, 0), (CLOSED, False, 0), "l1 says closed"),
        ((CLOSED, False, 0), (CLOSED, False, 0), "l1 says closed"),
        ((DRAINED, False, 0), (CLOSED, True, 2), "2 sessions at l2"),
        ((None, False, 0), (COOLING, True, 2), "2 sessions at l2"),
        ((PairState.ACTIVE, False, 0), (COOLING, False, 0), "l1 says active"),
    ],
)
def test_a_chain_is_held_up_by(
    master: tuple[PairState | None, bool, int], slave: tuple[PairState | None, bool, int], reason: str
) -> None:
    verdict = judge(activity("l1", *master), activity("l2", *slave))
    assert (verdict.drained, verdict.reason) == (False, reason)


@pytest.mark.parametrize("master", [DRAINED, None])
@pytest.mark.parametrize("slave", [DRAINED, CLOSED, None])
def test_a_chain_is_drained_when_nothing_is_left(master: PairState | None, slave: PairState | None) -> None:
    assert judge(activity("l1", master, False), activity("l2", slave, False)).drained
