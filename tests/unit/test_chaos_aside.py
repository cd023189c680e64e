"""A part of an experiment beside another one."""

from __future__ import annotations

import os
import time

import pytest

from catenary.errors import CatenaryError
from experiments.chaos.aside import aside


def policy() -> tuple[int, int]:
    return os.getpid(), os.sched_getscheduler(0)


def broken() -> int:
    raise ValueError("planted")


def endless() -> int:
    while True:
        time.sleep(60)


def test_it_runs_in_a_process_of_its_own_that_disturbs_nobody() -> None:
    with aside(policy) as result:
        other, scheduling = result()
    assert (other != os.getpid(), scheduling) == (True, os.SCHED_IDLE)


def test_one_that_breaks_is_told_of() -> None:
    with aside(broken) as result, pytest.raises(CatenaryError, match="broke"):
        result()


def test_it_ends_with_the_other() -> None:
    with pytest.raises(KeyboardInterrupt), aside(endless):
        raise KeyboardInterrupt
