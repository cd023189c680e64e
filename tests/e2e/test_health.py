"""A chain dies under traffic: the master takes it out of the way, and its sessions go on in another."""

from __future__ import annotations

import time

from catenary.config import ChainConfig, HealthConfig
from tests.e2e.watching import SHORT
from tests.isolation import isolated
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.traffic import Talks

CHAINS = {"first": ("n1",), "second": ("n2",)}
HEALTH = HealthConfig(interval=0.5, timeout=0.3, fall=3, on_dead="reset")


def verdict(testbed: Testbed, chain: str) -> str | None:
    found = next(item for item in testbed.management.status().chains if item.name == chain)
    return found.health.verdict if found.health else None


@isolated
def test_new_sessions_leave_a_chain_whose_function_lost_its_link() -> None:
    with Testbed(timeouts=SHORT) as testbed:
        (name,) = testbed.network.segments
        segments = {name: testbed.network.segments[name].model_copy(update={"health": HEALTH})}
        chains = {chain: ChainConfig(nfs=list(nfs)) for chain, nfs in CHAINS.items()}
        document = testbed.network.model_copy(update={"segments": segments, "chains": chains})
        operation = testbed.management.apply(document)
        assert operation is not None
        wait_until(lambda: testbed.management.operation(operation.id).state == "succeeded", "applied")
        wait_until(lambda: {verdict(testbed, chain) for chain in CHAINS} == {"up"}, "both chains up")

        testbed.hosts["n1"].run(["ip", "link", "set", "n1-eth0", "down"])
        cut = time.monotonic()
        wait_until(lambda: verdict(testbed, "first") == "down", "seen as down")
        took = time.monotonic() - cut
        print(f"seen as down after {took:.3f} s")
        assert took <= HEALTH.fall * HEALTH.interval + 0.2 + 0.5, "looked at through two services"
        with Talks(testbed.hosts["h1"], testbed.hosts["h2"], sessions=8, name="later") as later:
            assert later.wait_rounds(3).failures == ()

        testbed.hosts["n1"].run(["ip", "link", "set", "n1-eth0", "up"])
        wait_until(lambda: verdict(testbed, "first") == "up", "up again")
