"""A part of an experiment beside another one."""

from __future__ import annotations

import os
import time

import pytest

from catenary.errors import CatenaryError
from experiments.chaos.aside import AUTOGROUP, aside


def policy() -> tuple[int, int]:
    return os.getpid(), os.sched_getscheduler(0)


def niceness() -> list[str]:
    """That of the session's group, if it has one: what the machine started without a session has none."""
    return AUTOGROUP.read_text().split()[-1:]


def broken() -> int:
    raise ValueError("planted")


def endless() -> int:
    while True:
        time.sleep(60)


def test_it_runs_in_a_process_of_its_own_that_disturbs_nobody() -> None:
    with aside(policy) as result:
        other, scheduling = result()
    assert (other != os.getpid(), scheduling) == (True, os.SCHED_IDLE)


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="a kernel without autogroups")
def test_it_has_no_share_of_its_own_among_sessions() -> None:
    before = niceness()
    with aside(niceness) as result:
        assert result() == ["19"]
    assert niceness() == before


def test_one_that_breaks_is_told_of() -> None:
    with aside(broken) as result, pytest.raises(CatenaryError, match="broke"):
        result()


def test_it_ends_with_the_other() -> None:
    with pytest.raises(KeyboardInterrupt), aside(endless):
        raise KeyboardInterrupt
