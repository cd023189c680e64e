"""The testbed scales by itself, and tries a chain on a share of new sessions."""

from __future__ import annotations

import math
from dataclasses import replace

from catenary.config import SegmentConfig
from catenary.wire import ChainRequest, ChainStatus
from experiments.operations.rising import IN_WINDOW_S, cycles
from tests.e2e.watching import SHORT
from tests.isolation import isolated
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import FIG4, Testbed
from topologies.traffic import ByteServer, Transfers

SHARE, SESSIONS = 20, 300
EXACT = replace(FIG4, segments={"main": SegmentConfig(master="l1", slave="l2", policy="maglev")})


@isolated
def test_one_to_three_to_one_chains_by_itself() -> None:
    """With firewalls that a program starts and stops; an old session lives all the time."""
    outcome = cycles(1, hook=True)
    (cycle,) = outcome.cycles
    print(cycle)
    assert outcome.requests is not None
    assert outcome.requests.requests > 0
    assert outcome.failed == 0, (outcome.requests.errors, cycle.failures, outcome.steady)
    assert outcome.violations == 0, outcome.verdict
    assert cycle.lasted > IN_WINDOW_S
    assert outcome.asked.count("start n1") == outcome.asked.count("start n2") == 1


def status(testbed: Testbed, chain: str) -> ChainStatus:
    return next(item for item in testbed.management.status().chains if item.name == chain)


def new_sessions(testbed: Testbed, chain: str) -> int:
    return status(testbed, chain).new_sessions or 0


@isolated
def test_a_canary_has_its_share_until_it_is_promoted_or_withdrawn() -> None:
    with Testbed(blueprint=EXACT, timeouts=SHORT) as testbed, ByteServer(testbed.hosts["h2"]) as server:
        management = testbed.management
        testbed.add_chain(["n1"], name="old")
        request = ChainRequest(nfs=["n2"], name="trial", canary=SHARE)
        management.wait(management.add_chain(request), PATIENCE_S)
        wait_until(lambda: management.chain("trial").weight == 25, "its weight is its share's")

        before = {name: new_sessions(testbed, name) for name in ("old", "trial")}
        h3 = testbed.hosts["h3"]
        with Transfers(h3, server.url("/1000"), name="requests", parallel=4, sessions=SESSIONS) as load:
            done = load.wait(PATIENCE_S)
        assert (done.requests, done.failures) == (SESSIONS, 0)
        took = {name: new_sessions(testbed, name) - count for name, count in before.items()}
        share = 100 * took["trial"] / sum(took.values())
        print(f"{share:.1f} % of {sum(took.values())} sessions")
        deviation = math.sqrt(SHARE * (100 - SHARE) / SESSIONS)
        assert abs(share - SHARE) < 5 * deviation

        assert management.promote_canary("trial").canary is None
        assert status(testbed, "trial").weight == status(testbed, "old").weight

        request = ChainRequest(nfs=["n3"], name="second", canary=SHARE)
        management.wait(management.add_chain(request), PATIENCE_S)
        wait_until(lambda: management.chain("second").weight == 50, "beside two chains it weighs twice that")
        testbed.remove_chain("second")
