"""The management system, killed at every crash point of an add and a remove on the testbed, finishes both.

For each crash point the service is started with CATENARY_CRASH_AT naming it and asked to add a chain and to
remove it again. It dies (SIGKILL) right after that store write or outgoing call, is started again without
the variable, and must end with the controller, both load balancers and the switches holding what they held
before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from catenary.errors import Conflict, NotFound, Unavailable
from catenary.wire import ChainRequest
from tests.crash_points import MOVING, POINTS
from tests.e2e.management_process import ManagementProcess
from tests.isolation import isolated
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import FLEETING, Testbed

T = TypeVar("T")


class Operator:
    """Somebody who insists: starts a dead service again and asks again, until it is done."""

    def __init__(self, testbed: Testbed, service: ManagementProcess) -> None:
        self._management = testbed.management
        self._service = service
        self.deaths = 0

    def start(self, at: str) -> None:
        """Start the service so that it dies at a crash point."""
        self.deaths = 0
        self._service.start(CATENARY_CRASH_AT=at)
        self._survive(self._wait_ready)

    def add(self) -> None:
        request = ChainRequest(nfs=["n1"], name=MOVING)
        self._insist("active", lambda: self._management.add_chain(request))

    def remove(self) -> None:
        self._insist("removed", lambda: self._management.remove_chain(MOVING))

    def has_seen_a_death(self, at: str) -> None:
        """The last write can be read a moment before the service dies of it."""
        if not self.deaths:
            assert self._service.died(wait=PATIENCE_S), f"it did not die at {at!r}"
            self._service.start()
            self._wait_ready()

    def _insist(self, state: str, ask: Callable[[], object]) -> None:
        def accepted() -> None:
            try:
                ask()
            except (Conflict, NotFound):
                assert self.deaths, "refused without a crash"  # else: it was accepted before the crash

        self._survive(accepted)
        wait_until(
            lambda: self._survive(lambda: self._management.chain(MOVING).state) == state,
            f"chain is not {state}",
        )

    def _wait_ready(self) -> None:
        wait_until(
            lambda: self._service.died() or bool(self._management.health()), "management system is not up"
        )
        self._management.health()

    def _survive(self, work: Callable[[], T]) -> T:
        """`work()`, and once more in the next process if this one died."""
        try:
            return work()
        except Unavailable:
            assert self._service.died(wait=PATIENCE_S), "it can't be reached, but lives"
            self.deaths += 1
            assert self.deaths == 1, "died twice"
            self._service.start()
            self._wait_ready()
            return work()


@isolated
def test_killed_at_every_crash_point_it_finishes() -> None:
    with Testbed(timeouts=FLEETING) as testbed:
        stays = testbed.add_chain(["n3"], name="stays")
        log = testbed.run_dir / "killed.log"
        service = take_over(testbed, log)
        try:
            wait_until(lambda: not pins(testbed), "some host's neighbour discovery goes on")
            before = testbed.leftovers()
            operator = Operator(testbed, service)
            for at in POINTS:
                operator.start(at)
                operator.add()
                operator.remove()
                operator.has_seen_a_death(at)
                # Hosts may ask for their neighbours at any time, which gives a pin for a moment.
                wait_until(lambda: testbed.leftovers() == before, f"as before the crash at {at!r}")
                assert testbed.management.chains() == [stays]
                assert {item.state for item in testbed.management.operations()} == {"succeeded"}
        finally:
            service.stop()
        assert log.read_text().count("crash point: ") == len(POINTS)


def pins(testbed: Testbed) -> int:
    return sum(balancer.stats().pins for balancer in testbed.balancers.values())


def take_over(testbed: Testbed, log: Path, database: Path | None = None) -> ManagementProcess:
    """Stop the testbed's management system, and return one of the same command line, not started yet.

    With a `database`, that is another one.
    """
    words = Path(f"/proc/{testbed.services.pid('ms')}/cmdline").read_text().split("\0")[:-1]
    testbed.services.stop("ms")
    if database is not None:
        words[words.index("--db") + 1] = str(database)
    return ManagementProcess(words[words.index("ms") :], log)
