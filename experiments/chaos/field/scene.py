"""What a stage is made of: the testbed, clients that don't wait long, the traffic and the changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from catenary.part_clients import BalancerClient, ControllerClient
from catenary.token import read_token
from experiments.chaos.field.chronicle import Chronicle
from experiments.chaos.field.churn import Churn
from experiments.chaos.field.timeline import Own
from experiments.chaos.field.traffic import Traffic
from topologies.credentials import Credentials
from topologies.testbed import CONTROLLER_URL, MANAGEMENT_URL, Testbed

PATIENCE_S = 1.0


class Probes:
    """Clients of all services that give up soon: what they ask may be dead or cut off."""

    def __init__(self, testbed: Testbed) -> None:
        made = Credentials(testbed.run_dir / "credentials")
        token = read_token(made.token_file)
        self.management = ManagementClient(MANAGEMENT_URL, timeout=PATIENCE_S)
        self.controller = ControllerClient(CONTROLLER_URL, timeout=PATIENCE_S)
        self.master, self.slave = (
            BalancerClient(
                testbed.network.balancers[name].url,
                token=token,
                ca=made.ca,
                identity=made.identity(),
                timeout=PATIENCE_S,
            )
            for name in ("l1", "l2")
        )

    def answers(self, service: str) -> bool:
        """Does `ms`, `controller`, `l1` or `l2` answer at all?"""
        health: dict[str, Callable[[], object]] = {
            "ms": self.management.health,
            "controller": self.controller.health,
            "l1": self.master.health,
            "l2": self.slave.health,
        }
        try:
            health[service]()
        except CatenaryError:
            return False
        return True

    def healthy(self) -> bool:
        """All services are well, know each other, and the pair is at one epoch and not in overflow."""
        states = (
            self.management.health().status,
            self.controller.health().status,
            self.master.health().status,
            self.slave.health().status,
        )
        if set(states) != {"ok"}:
            return False
        master = self.master.stats()
        return master.peer is not None and master.epoch == master.peer.epoch and not master.overflow

    def close(self) -> None:
        for client in (self.management, self.controller, self.master, self.slave):
            client.close()


@dataclass
class Scene:
    """`own` is of the fault that is in force: each begins with an empty one."""

    testbed: Testbed
    probes: Probes
    traffic: Traffic
    churn: Churn
    chronicle: Chronicle
    own: Own
