"""One file makes two segments what it says, under traffic, and over a management system that is killed in it.

The disk with its database is full for a while.

nothing  -> start    a-1 | b-1             the network loses the NF b2, which nobody uses
start    -> over     a-2 | b-1 (50), b-2   b2 comes back with its chain; a-1 cools down with its sessions
over     -> back     a-1 | b-2             a-1 is taken back as a-2 leaves; b-1 leaves
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from catenary.config import ChainConfig, ServiceConfig, ServiceEntry
from catenary.errors import InsufficientStorage, Unavailable
from catenary.wire import ChainRequest
from tests.e2e.management_process import ManagementProcess
from tests.e2e.test_crash_points import take_over
from tests.e2e.watching import SHORT, judged, keys_of, nfs_of
from tests.isolation import isolated
from tests.small_disk import fill, mounted
from topologies.chained import CHAINED
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import Talks
from topologies.watching import wait_quiet, watch

FIRST = {"a-1": ("a1",), "a-2": ("a2",)}
SECOND = {"b-1": ("b1",), "b-2": ("b2",)}
TALKS = 8


def chain(name: str, **rest: int) -> dict[str, ChainConfig]:
    segment, nfs = ("first", FIRST[name]) if name in FIRST else ("second", SECOND[name])
    return {name: ChainConfig(segment=segment, nfs=list(nfs), **rest)}  # type: ignore[arg-type]


class Operator:
    """Applies files, and starts the service again and asks again when it has died of it."""

    def __init__(self, testbed: Testbed, service: ManagementProcess) -> None:
        self._testbed, self._service = testbed, service
        self.management = testbed.management

    def start(self, at: str | None = None) -> None:
        self._service.start(**({"CATENARY_CRASH_AT": at} if at else {}))
        wait_until(lambda: bool(self.management.health()), "the management system is not up")

    def apply(self, config: ServiceConfig, at: str) -> None:
        """Die at the crash point; then all of the file is accepted, or nothing and it is asked for again."""
        self.start(at)
        try:
            self.management.apply(config)
        except Unavailable:
            assert self._service.died(wait=PATIENCE_S)
        wait_until(self._service.died, f"it does not die at {at!r}")
        self.start()
        again = self.management.apply(config)
        assert again is None, "what is accepted is on disk, and asked for again is no change"
        assert self.management.plan(config).changes == []

    def wait(self, **states: str) -> None:
        def reached() -> bool:
            chains = {chain.name: str(chain.state) for chain in self.management.chains()}
            return {name.replace("_", "-"): state for name, state in states.items()} == chains

        wait_until(reached, f"chains are not {states}")


def refused_by_a_full_disk(testbed: Testbed, config: ServiceConfig, talks: Talks, disk: Path) -> None:
    """Whatever is asked for is refused, and the data plane goes on as it was."""
    management, before = testbed.management, [testbed.balancers[name].pairs() for name in ("l1", "l3")]

    def rename() -> None:  # small writes may still fit in, so what they change is nothing to the network
        for number in range(1000):
            services = {f"web-{number}": ServiceEntry(segments=["first"])}
            management.apply(config.model_copy(update={"services": services}))

    filler = fill(disk)
    for change in (rename, lambda: management.add_chain(ChainRequest(nfs=["a2"], segment="first"))):
        with pytest.raises(InsufficientStorage, match="its disk is full"):
            change()
    assert talks.wait_rounds(3).failures == ()
    assert {chain.name: chain.state for chain in management.chains()} == {"a-1": "active", "b-1": "active"}
    assert "its disk is full" in str(management.health().reason)
    assert [testbed.balancers[name].pairs() for name in ("l1", "l3")] == before
    filler.unlink()


def epochs(testbed: Testbed) -> dict[str, int]:
    return {name: testbed.balancers[name].pairs().epoch for name in ("l1", "l3")}


def weights(testbed: Testbed, master: str) -> list[int]:
    return sorted(pair.weight for pair in testbed.balancers[master].pairs().pairs if pair.state == "active")


@isolated
def test_files_are_applied_under_traffic_by_a_service_that_is_killed() -> None:
    with Testbed(blueprint=CHAINED, timeouts=SHORT) as testbed:
        disk = mounted(testbed.run_dir / "disk")
        service = take_over(testbed, testbed.run_dir / "killed.log", disk / "ms.db")
        operator = Operator(testbed, service)
        without = testbed.network.model_copy(
            update={"nfs": {name: nf for name, nf in testbed.network.nfs.items() if name != "b2"}}
        )
        start = without.model_copy(update={"chains": chain("a-1") | chain("b-1")})
        over = testbed.network.model_copy(
            update={"chains": chain("a-2") | chain("b-1", weight=50) | chain("b-2")}
        )
        back = testbed.network.model_copy(update={"chains": chain("a-1") | chain("b-2")})
        talk: Callable[..., Talks] = partial(Talks, testbed.hosts["h1"], testbed.hosts["h2"], sessions=TALKS)
        try:
            operator.apply(start, "call to controller: put network")
            operator.wait(a_1="active", b_1="active")
            with (
                watch(testbed, "first", ("a1", "a2")) as one,
                watch(testbed, "second", ("b1", "b2")) as two,
                talk(name="early") as early,
            ):
                refused_by_a_full_disk(testbed, start, early, disk)
                before = epochs(testbed)
                operator.apply(over, "call to l1: remove pair a-1, add pair a-2")
                operator.wait(a_1="cooling", a_2="active", b_1="active", b_2="active")
                assert epochs(testbed)["l1"] == before["l1"] + 1, "one switch for what comes and what goes"
                wait_until(lambda: weights(testbed, "l3") == [50, 100], "new weight")
                with talk(name="later", port=7001) as later:
                    assert [talks.wait_rounds(3).failures for talks in (early, later)] == [(), ()]
                    operator.apply(back, "call to l1: cancel cool-down a-1, remove pair a-2")
                    operator.wait(a_1="active", a_2="cooling", b_1="cooling", b_2="active")
                    assert [talks.wait_rounds(3).failures for talks in (early, later)] == [(), ()]
                    keys = [keys_of(talks) for talks in (early, later)]
                early.end()
                operator.wait(a_1="active", b_2="active")
                wait_quiet(one, two)
                recordings, verdicts = zip(judged(one, FIRST), judged(two, SECOND), strict=True)
            ended = {item.reason: item.state for item in testbed.management.operations()}
            assert ended.pop(None) == "succeeded"
            ((reason, state),) = ended.items()
            assert (state, "chain 'a-1' shall be present" in str(reason)) == ("failed", True), "it was undone"
        finally:
            service.stop()
        for verdict in verdicts:
            assert verdict.failures == ()
            assert verdict.sessions == 2 * TALKS
        where = [nfs_of(recording) for recording in recordings]
        assert all(where[0][key] == {"a1"} for key in keys[0])
        assert all(where[0][key] == {"a2"} for key in keys[1])
