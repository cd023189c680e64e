"""A part of the testbed is dead: a chain waits in its state, says why, and goes on when the part is back."""

from __future__ import annotations

from catenary.wire import ChainRequest, TimeoutsModel
from tests.isolation import isolated
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed

SHORT = TimeoutsModel(
    tcp_opening=0.5,
    tcp_established=1,
    tcp_closing=0.2,
    udp=0.5,
    other=0.5,
    neighbour=0.5,
    lease=0.2,
    transit=0.1,
)
WAITS = {
    "controller": ("requested", "controller at http://127.0.0.1:8081 can't be reached"),
    "l1": ("steered", "load balancer l1 at https://10.255.0.11:8082 can't be reached"),
    "l2": ("steered", "10.255.0.12"),
}


@isolated
def test_a_chain_waits_for_each_part() -> None:
    with Testbed(timeouts=SHORT) as testbed:
        testbed.add_chain(["n3"], name="stays")
        ms = testbed.management
        for part, (state, reason) in WAITS.items():
            testbed.kill(part)
            adding = ms.add_chain(ChainRequest(nfs=["n1"], name="moving"))
            waits(testbed, state, reason)
            assert not {item.name: item.ok for item in ms.status().services}[part]
            testbed.restart(part)
            assert ms.wait(adding, PATIENCE_S).state == "succeeded"
            testbed.remove_chain("moving")

        moving = testbed.add_chain(["n2"], name="moving")
        testbed.kill("l2")
        removal = ms.remove_chain(moving.name)
        waits(testbed, "active", WAITS["l2"][1])
        testbed.restart("l2")
        assert ms.wait(removal, PATIENCE_S).state == "succeeded"
        assert [chain.name for chain in testbed.controller.chains()] == ["stays"]


def waits(testbed: Testbed, state: str, reason: str) -> None:
    def holds() -> bool:
        chain = testbed.management.chain("moving")
        return chain.state == state and reason in (chain.reason or "")

    wait_until(holds, f"the chain does not wait because of {reason}")
