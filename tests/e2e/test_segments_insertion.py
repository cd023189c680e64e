"""A pair is inserted into a chain that carries traffic: its live sessions stay on it, and none breaks.

The chain's NF is a stateful firewall that takes up no session in the middle: one that went elsewhere, or was
seen by halves, would break.
"""

from __future__ import annotations

import time

import pytest

from catenary.errors import Conflict, Unavailable
from catenary.wire import ChainRequest
from mgmt_system.adoption import adoption
from tests.e2e.watching import SHORT, judged, keys_of, nfs_of
from tests.isolation import isolated
from topologies.insertion import INSERTION
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import Talks, Transfers, WebServer, ping
from topologies.watching import wait_quiet, watch
from witness.recording import Recording
from witness.verdict import Finding

TIMEOUTS = SHORT.model_copy(update={"tcp_established": 10.0})
REST = 1.5
CHAINS = {"first": ("n1",), "second": ("n2",)}


@isolated
def test_live_sessions_are_adopted_by_the_first_chain() -> None:
    with Testbed(blueprint=INSERTION, timeouts=TIMEOUTS) as testbed:
        h1, h2, h3 = (testbed.hosts[name] for name in ("h1", "h2", "h3"))
        for balancer in ("l1", "l2"):
            testbed.kill(balancer)
        testbed.add_chain(["n1"], name="first")
        for address in (h2.address(), h2.address(6), h3.address(), h3.address(6)):
            assert ping(h1, address) == 3, address
        with pytest.raises(Conflict, match="chain 'first' carries alone: insert it first"):
            testbed.add_chain(["n2"], name="second")
        with (
            watch(testbed, "main", ("n1", "n2")) as taps,
            WebServer(h2) as web,
            Transfers(h3, [web.url("4k"), web.url("4k", 6)], name="short", parallel=2, pause=0.05) as short,
            Talks(h1, h2, name="from-client") as early,
            Talks(h2, h1, name="from-server", port=7001) as opened_by_server,
            Talks(h1, h2, name="resting", port=7002) as resting,
            Talks(h2, h1, name="resting-server", port=7003) as resting_server,
        ):
            with pytest.raises(Unavailable, match="load balancer l1"):
                testbed.management.insert("main")
            for balancer in ("l1", "l2"):
                testbed.services.restart(balancer, wait=False)
            testbed.services.wait_ready()

            resting.pause()
            resting_server.pause()
            assert testbed.management.insert("main").inserted
            inserted_ns = time.monotonic_ns()
            second = testbed.management.add_chain(ChainRequest(nfs=["n2"], name="second"))
            wait_until(lambda: "adopts" in (testbed.management.chain("second").reason or ""), "adoption")
            talking = (early, opened_by_server)
            assert [talks.wait_rounds(3).failures for talks in talking] == [()] * 2
            time.sleep(REST)  # that they rest is the point
            resting.resume()
            resting_server.resume()
            adopted = (*talking, resting, resting_server)
            assert [talks.wait_rounds(3).failures for talks in adopted] == [()] * 4
            assert testbed.management.wait(second, PATIENCE_S).state == "succeeded"
            assert time.monotonic_ns() - inserted_ns >= adoption(TIMEOUTS) * 1e9

            with Talks(h1, h2, name="later", port=7004) as later:
                assert [talks.wait_rounds(3).failures for talks in (*adopted, later)] == [()] * 5
                keys, new = set().union(*map(keys_of, adopted)), keys_of(later)
                dropped = {name: firewall.counters().dropped for name, firewall in testbed.firewalls.items()}
            transferred = short.stop()
            for talks in adopted:
                talks.end()
            wait_quiet(taps)
            recording, verdict = judged(taps, CHAINS)
            counters = [balancer.stats().counters for balancer in testbed.balancers.values()]
        assert transferred.failures == 0
        assert not verdict.violations
        where = nfs_of(recording)
        assert len(keys) == 64
        assert all(where[key] == {"n1"} for key in keys)
        # The first chain may have no room for them, as it carries all that were adopted.
        assert all(len(where[key]) == 1 for key in new)
        assert "n2" in {nf for key in new for nf in where[key]}
        assert not any(dropped.values()), dropped
        # Only sessions that were there before have packets that went past the pair, and none was dropped.
        assert all(first_ns(recording, finding) < inserted_ns for finding in verdict.bypassed)
        lost = {name: n for one in counters for name, n in one.items() if name.startswith("drop") and n}
        assert lost == {}


def first_ns(recording: Recording, finding: Finding) -> int:
    """When a session began, by the monotonic clock."""
    return int(recording.origins[finding.session]["first_ns"])
