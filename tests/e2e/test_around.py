"""The machine of a load balancer dies under traffic: it goes around the segment, and through it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from catenary import wire
from catenary.config import ChainConfig
from tests.e2e.watching import SHORT, answers, judged
from tests.isolation import isolated
from topologies.outages import bring_back, lose_machine
from topologies.services import wait_until
from topologies.surrounded import SURROUNDED
from topologies.testbed import Testbed
from topologies.traffic import Talks
from topologies.watching import wait_quiet, watch

CHAINS = {"one": ("n1",), "two": ("n2",)}
TIMEOUTS = SHORT.model_copy(update={"tcp_established": 60.0})
"""The fixed firewalls keep a session for longer than that, and so shall the chains' pins while it is away."""


@contextmanager
def serving(when_lb_gone: str) -> Iterator[Testbed]:
    with Testbed(blueprint=SURROUNDED, timeouts=TIMEOUTS) as testbed:
        main = testbed.network.segments["main"].model_copy(update={"when_lb_gone": when_lb_gone})
        chains = {name: ChainConfig(nfs=list(nfs)) for name, nfs in CHAINS.items()}
        document = testbed.network.model_copy(update={"segments": {"main": main}, "chains": chains})
        operation = testbed.management.apply(document)
        assert operation is not None
        wait_until(lambda: testbed.management.operation(operation.id).state == "succeeded", "applied")
        yield testbed


def segment(testbed: Testbed) -> wire.SegmentStatus:
    (found,) = testbed.management.status().segments
    return found


@isolated
def test_traffic_goes_around_a_pair_that_lost_one_and_through_it_again() -> None:
    with serving("fail-open") as testbed:
        h1, h2 = testbed.hosts["h1"], testbed.hosts["h2"]
        for nf in ("n1", "n2"):  # they are to go on with TCP of which they missed a part
            testbed.hosts[nf].run(["sysctl", "-w", "net.netfilter.nf_conntrack_tcp_be_liberal=1"])
        with (
            watch(testbed, "main", ("n1", "n2")) as taps,
            Talks(h1, h2, name="from-client") as clients,
            Talks(h2, h1, name="from-server", port=7001) as servers,
        ):
            testbed.kill("l1")  # the daemon alone: packets go on without it, and nothing is led elsewhere
            assert [talks.wait_rounds(10).failures for talks in (clients, servers)] == [(), ()]
            assert (segment(testbed).around, segment(testbed).gone) == (False, [])
            testbed.restart("l1")
            for balancer in ("l2", "l1"):
                lose_machine(testbed, balancer)
                lost = time.monotonic()
                wait_until(partial(answers, testbed), "traffic goes around", interval=0.01)
                took = time.monotonic() - lost
                print(f"{balancer} lost: no traffic for {took:.3f} s")
                assert took < 2.0, "1 s, on a machine with nothing else to do"
                wait_until(lambda: segment(testbed).around, "shown")
                assert segment(testbed).gone == [balancer]
                assert [talks.wait_rounds(3).failures for talks in (clients, servers)] == [(), ()]
                bring_back(testbed, balancer)
                wait_until(lambda: not segment(testbed).around, "traffic goes through again")
                assert segment(testbed).gone == []
                assert [talks.wait_rounds(3).failures for talks in (clients, servers)] == [(), ()]
            with Talks(h1, h2, name="later", port=7002) as later:
                assert later.wait_rounds(3).failures == ()
            clients.end()
            servers.end()
            wait_quiet(taps)
            _, verdict = judged(taps, CHAINS)
            orphaned = testbed.balancers["l1"].stats().counters.get("orphaned", 0)
        print(verdict.headline)
        assert verdict.violations == ()
        assert verdict.sessions >= 3 * 16
        assert len(verdict.bypassed) >= 2 * 16  # that is what was asked for
        assert orphaned == 0
        told = [(entry.kind, entry.text) for entry in testbed.management.history(kind="around")]
        assert [text for _, text in told] == [
            "l2 is gone",
            "both load balancers are well again",
            "l1 is gone",
            "both load balancers are well again",
        ]


@isolated
def test_traffic_stops_and_says_so_where_a_segment_fails_closed() -> None:
    with serving("fail-closed") as testbed:
        assert answers(testbed)
        lose_machine(testbed, "l2")
        wait_until(lambda: segment(testbed).gone == ["l2"], "the machine is seen to be gone")
        assert not answers(testbed)
        assert not segment(testbed).around
        faults = [entry.changes for entry in testbed.management.history(kind="fault")]
        assert "the machine of load balancer l2 is gone" in str(faults)
        bring_back(testbed, "l2")
        wait_until(partial(answers, testbed), "traffic is there again")
        wait_until(lambda: segment(testbed).gone == [], "the machine is seen to be back")
