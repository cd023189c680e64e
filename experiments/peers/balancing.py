"""What spreads sessions over the testbed's chains: one small interface, Catenary behind it or a rival.

Everything else is the same for all: hosts, network functions, switches, and the rules by which the controller
has tagged traffic cross the network function of its chain.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from catenary.tags import TagPair
from catenary.wire import SteerRequest, Tags
from experiments.evaluation.play import NFS, TESTBED, Chains, chain_of
from experiments.evaluation.sabotage import Sabotage
from topologies.services import wait_until
from topologies.started import Started
from topologies.testbed import Testbed

BALANCERS = ("l1", "l2")


@dataclass(frozen=True)
class Chain:
    """A chain with one NF. `slot` is its number in tables and rules, from 0."""

    nf: str
    slot: int

    @property
    def name(self) -> str:
        return chain_of(self.nf)

    @property
    def tags(self) -> TagPair:
        return TESTBED.tags(self.nf)


CHAINS = tuple(Chain(nf, slot) for slot, nf in enumerate(NFS))


class Balancing(Started):
    """A way to balance sessions between the two ends of the testbed, from `start` until `stop`."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed

    @abstractmethod
    def set_chains(self, chains: Sequence[Chain]) -> None:
        """Spread new sessions over these from now on; returns when both ends do so.

        What is added and what is removed since the last time are one change.
        """


class Managed(Balancing):
    """Catenary, as its users have it: by the management system's REST; broken if `sabotage` says so."""

    def __init__(self, testbed: Testbed, sabotage: Sabotage = Sabotage.NONE) -> None:
        super().__init__(testbed)
        self._chains = Chains(testbed, TESTBED, sabotage)

    def start(self) -> None:
        """The testbed has it running."""

    def stop(self) -> None:
        """It ends with the testbed."""

    def set_chains(self, chains: Sequence[Chain]) -> None:
        self._chains.become([chain.nf for chain in chains], wait=False)
        active = {chain.name for chain in chains}

        def taken() -> bool:
            """Removed ones may be cooling down for long: that is no part of the change."""
            return {row.name for row in self.testbed.management.chains() if row.state == "active"} == active

        wait_until(taken, "the chains are not active", interval=0.01)


class Rival(Balancing):
    """What takes the place of both load balancers, and does without the management system.

    All chains are steered from the start; which of them are used is up to the two ends.
    """

    def start(self) -> None:
        for service in ("ms", *BALANCERS):
            self.testbed.kill(service)  # at once: they would wait for their open connections
        for chain in CHAINS:
            request = SteerRequest(segment="main", tags=Tags.of(chain.tags), nfs=[chain.nf])
            self.testbed.controller.steer(chain.name, request)
        for name in BALANCERS:  # the data plane outlives its daemon
            for side in ("outer", "inner"):
                self.testbed.hosts[name].attempt(["tc", "qdisc", "del", "dev", f"{name}-{side}", "clsact"])
