"""A machine dies under traffic, and a standby takes its place; the old one comes back, cut off."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from catenary.config import ChainConfig
from tests.e2e.watching import SHORT, answers, judged
from tests.isolation import isolated
from topologies.outages import lose_machine, plug
from topologies.services import wait_until
from topologies.spare import SPARE
from topologies.testbed import Testbed
from topologies.traffic import Talks
from topologies.watching import wait_quiet, watch

CHAINS = {"one": ("n1",), "two": ("n2",)}


def in_step(testbed: Testbed, name: str = "l3") -> bool:
    standby = testbed.balancers[name].health().standby
    return standby is not None and standby.state == "following" and standby.reason is None


def apply(testbed: Testbed, chains: Mapping[str, Sequence[str]]) -> None:
    wanted = {name: ChainConfig(nfs=list(nfs)) for name, nfs in chains.items()}
    operation = testbed.management.apply(testbed.network.model_copy(update={"chains": wanted}))
    assert operation is not None
    wait_until(lambda: testbed.management.operation(operation.id).state == "succeeded", "applied")


@isolated
def test_sessions_go_on_through_the_standby_of_a_machine_that_is_gone() -> None:
    with Testbed(blueprint=SPARE, timeouts=SHORT) as testbed:
        h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
        apply(testbed, CHAINS)
        wait_until(lambda: in_step(testbed), "the standby is in step")
        with (
            watch(testbed, "main", ("n1", "n2")) as taps,
            Talks(h1, h2, name="from-client") as clients,
            Talks(h2, h1, name="from-server", port=7001) as servers,
        ):
            testbed.kill("l1")  # the daemon alone: packets go on without it, and it is started anew
            assert [talks.wait_rounds(3).failures for talks in (clients, servers)] == [(), ()]
            testbed.restart("l1")
            wait_until(lambda: in_step(testbed), "in step again")
            assert list(testbed.management.history(kind="take-over")) == []

            lose_machine(testbed, "l1")
            lost = time.monotonic()
            wait_until(lambda: answers(testbed), "the standby carries traffic", interval=0.01)
            print(f"no traffic for {time.monotonic() - lost:.3f} s, of which D is {SHORT.transit} s")
            assert [talks.wait_rounds(3).failures for talks in (clients, servers)] == [(), ()]
            [told] = testbed.management.history(kind="take-over")
            assert "the standby of l1" in (told.text or "")

            plug(testbed.hosts["l1"], into=True)  # it does not know that it was replaced
            testbed.restart("l1", wait=False)
            old = testbed.balancers["l1"]
            wait_until(lambda: "has taken the place" in str(old.health().peer.reason), "its slave refuses it")
            assert [talks.wait_rounds(3).failures for talks in (clients, servers)] == [(), ()]
            with Talks(h1, h2, name="later", port=7002) as later:
                assert later.wait_rounds(3).failures == ()
            clients.end()
            servers.end()
            wait_quiet(taps)
            _, verdict = judged(taps, CHAINS)
            orphaned = testbed.balancers["l3"].stats().counters.get("orphaned", 0)
        print(verdict.headline)
        assert verdict.violations == ()
        assert verdict.sessions >= 3 * 16
        assert orphaned == 0
        apply(testbed, {"one": ("n1",)})  # by the new address: the old one takes no part
        assert [chain.name for chain in testbed.management.chains()] == ["one"]


@isolated
def test_sessions_go_on_through_the_standby_of_a_slave_that_is_gone() -> None:
    with Testbed(blueprint=SPARE, timeouts=SHORT) as testbed:
        h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
        apply(testbed, CHAINS)
        wait_until(lambda: in_step(testbed, "l4"), "the standby is in step")
        with (
            watch(testbed, "main", ("n1", "n2")) as taps,
            Talks(h1, h2, name="from-client") as clients,
            Talks(h2, h1, name="from-server", port=7001) as servers,
        ):
            assert [talks.wait_rounds(5).failures for talks in (clients, servers)] == [(), ()]
            lose_machine(testbed, "l2")
            lost = time.monotonic()
            wait_until(lambda: answers(testbed), "the standby carries traffic", interval=0.01)
            print(f"no traffic for {time.monotonic() - lost:.3f} s")
            assert [talks.wait_rounds(3).failures for talks in (clients, servers)] == [(), ()]
            [told] = testbed.management.history(kind="take-over")
            assert ("the standby of l2" in (told.text or ""), told.segment) == (True, "main")

            plug(testbed.hosts["l2"], into=True)  # it does not know that it was replaced
            testbed.restart("l2", wait=False)
            old = testbed.balancers["l2"]
            wait_until(lambda: "a standby took the place" in str(old.health().peer.reason), "it is told")
            rows = {row.balancer: row for row in testbed.management.status().standbys}
            assert "a standby took the place" in str(rows["l2"].reason)
            assert (rows["l1"].state, rows["l1"].in_step) == ("following", True)
            with Talks(h1, h2, name="later", port=7002) as later:
                assert later.wait_rounds(3).failures == ()
            assert [talks.wait_rounds(3).failures for talks in (clients, servers)] == [(), ()]
            clients.end()
            servers.end()
            wait_quiet(taps)
            _, verdict = judged(taps, CHAINS)
            health = testbed.balancers["l4"].health()
        print(verdict.headline)
        assert verdict.violations == ()
        assert verdict.sessions >= 3 * 16
        assert (health.standby is not None and health.standby.state, health.slave_term) == ("active", 1)
        apply(testbed, {"one": ("n1",)})  # with the new one
        assert testbed.balancers["l4"].pairs() == testbed.balancers["l1"].pairs()
