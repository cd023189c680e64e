"""Open vSwitch in the load balancers' place: a switch of its own each, on the ports that were theirs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments.peers import flows
from experiments.peers.balancing import BALANCERS, CHAINS, Chain, Rival
from topologies.hosts import Host, inside
from topologies.ovs import OpenVSwitch
from topologies.testbed import Testbed

_BRIDGE = "balance"


class SwitchEnd:
    """One of the two: Open vSwitch on a load balancer's host, with one bridge."""

    def __init__(self, host: Host, directory: Path) -> None:
        self._host = host
        self._ovs = OpenVSwitch(directory)

    def start(self) -> None:
        with inside(self._host):  # its daemons, too: two of them in one network namespace collide
            self._ovs.start()
        self._ovs.add_bridge(_BRIDGE)
        self._ovs.vsctl("set", "bridge", _BRIDGE, "protocols=OpenFlow13,OpenFlow15")
        for number, side in ((flows.OUTER, "outer"), (flows.INNER, "inner")):
            port = f"{self._host.name}-{side}"
            options = ("--", "set", "interface", port, f"ofport_request={number}")
            self._ovs.vsctl("add-port", _BRIDGE, port, *options)

    def apply(self, lines: Iterable[str]) -> None:
        """Groups and flows, all at the same moment."""
        file = self._ovs.directory / "bundle"
        file.write_text("\n".join(lines) + "\n")
        self._ovs.ofctl("-O", "OpenFlow15", "bundle", _BRIDGE, str(file))

    def stop(self) -> None:
        self._ovs.stop()


class Switched(Rival):
    """Both ends, told at once of each change."""

    def __init__(self, testbed: Testbed) -> None:
        super().__init__(testbed)
        kind = type(self).__name__.lower()
        self._ends = {
            name: SwitchEnd(testbed.hosts[name], testbed.run_dir / f"{kind}-{name}") for name in BALANCERS
        }

    def start(self) -> None:
        super().start()
        for name, end in self._ends.items():
            end.start()
            end.apply(self.rules(forward=name == BALANCERS[0]))

    def stop(self) -> None:
        for end in self._ends.values():
            end.stop()

    def set_chains(self, chains: Sequence[Chain]) -> None:
        lines = list(self.choice(chains))
        with ThreadPoolExecutor(len(self._ends)) as pool:
            list(pool.map(SwitchEnd.apply, self._ends.values(), (lines, lines)))

    @abstractmethod
    def rules(self, *, forward: bool) -> Iterable[str]:
        """What an end has from the start; `forward`: it is the clients'."""

    @abstractmethod
    def choice(self, chains: Sequence[Chain]) -> Iterable[str]:
        """What makes it choose among these chains."""


class Multipath(Switched):
    """`multipath`: the symmetric hash alone."""

    def rules(self, *, forward: bool) -> Iterable[str]:
        return [*flows.push(forward=forward), *flows.multipath()]

    def choice(self, chains: Sequence[Chain]) -> Iterable[str]:
        return flows.multipath_choice(chains)


class Learn(Switched):
    """A hash group, and `learn` for what was hashed and for what came out of a chain."""

    def rules(self, *, forward: bool) -> Iterable[str]:
        # The groups first: rules name them.
        return [
            *flows.groups(CHAINS),
            *flows.push(forward=forward),
            *flows.learn(forward=forward),
        ]

    def choice(self, chains: Sequence[Chain]) -> Iterable[str]:
        return flows.groups(chains)
