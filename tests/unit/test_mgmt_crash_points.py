"""Killed at every crash point of an add and a remove, one after the other, it finishes after a restart.

Here a crash is an exception that ends the "process"; `tests/e2e/test_crash_points.py` does the same with
SIGKILL on the testbed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from catenary.chain import PairState
from catenary.errors import Conflict, NotFound
from catenary.tags import TagPair
from tests.crash_points import MOVING, POINTS
from tests.unit.mgmt_fakes import Site
from tests.unit.test_mgmt_journal import present, replayed


class Killed(BaseException):
    """What a crash looks like here."""


class Death:
    """A crash point that kills at the `at`-th one, once, and remembers what all were."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed: list[str] = []

    def __call__(self, what: str) -> None:
        self.passed.append(what)
        if len(self.passed) == self.at:
            raise Killed(what)


def survive(site: Site, work: Callable[[], None]) -> None:
    """Do it; if it dies, do it again in the next process."""
    try:
        work()
    except Killed:
        site.restart()
        assert replayed(site.ledger) == present(site.ledger), "the journal tells another story"
        work()


def add(site: Site) -> None:
    with suppress(Conflict):  # accepted before the crash
        site.add("n1", name=MOVING)
    site.settle()
    assert site.states()[MOVING] == "active"


def remove(site: Site) -> None:
    with suppress(Conflict, NotFound):  # accepted, or even done, before the crash
        site.manager.remove(MOVING, force=False)
    site.settle()
    assert site.states()[MOVING] == "removed"


def begin() -> Site:
    site = Site()
    site.add("n3", name="stays")
    site.settle()
    return site


def live(site: Site, work: list[Callable[[Site], None]], at: int) -> list[str]:
    death = Death(at)
    site.restart(death)
    for item in work:
        survive(site, partial(item, site))
    return death.passed


PASSED = live(begin(), [add, remove], at=0)


@pytest.mark.parametrize("at", range(1, len(PASSED) + 1), ids=lambda at: f"{at}-{PASSED[at - 1]}")
def test_add_and_remove_are_finished_after_a_crash(at: int) -> None:
    site = begin()
    assert len(live(site, [add, remove], at)) == at
    assert site.states() == {"stays": "active", MOVING: "removed"}
    assert list(site.controller.steered) == ["stays"]
    for balancer in (site.master, site.slave):
        assert balancer.states == {TagPair(2, 3): PairState.ACTIVE}
    assert {item.state for item in site.manager.operations()} == {"succeeded"}
    site.close()


def test_the_named_crash_points_are_all_that_are_passed() -> None:
    assert tuple(dict.fromkeys(PASSED)) == POINTS
