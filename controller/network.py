"""What the controller steers through: ports, links, and everything that is attached to a switch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from catenary.chain import NetworkFunction, TagMode


@dataclass(frozen=True, order=True)
class Port:
    """A port by the name of its switch and its own OpenFlow name (which survives renumbering)."""

    switch: str
    name: str

    def __str__(self) -> str:
        return f"{self.switch}:{self.name}"


@dataclass(frozen=True, order=True)
class Link:
    """A wire between two switches that carries frames both ways; `a` sorts before `b`."""

    a: Port
    b: Port

    @classmethod
    def of(cls, one: Port, other: Port) -> Link:
        return cls(*sorted((one, other)))

    def __str__(self) -> str:
        return f"{self.a}-{self.b}"


@dataclass(frozen=True)
class Topology:
    """The switches that can be programmed now, and the links seen between them."""

    switches: frozenset[str]
    links: frozenset[Link]


@dataclass(frozen=True)
class Host:
    """A host outside the segments, with its Ethernet address; several may share a port."""

    port: Port
    mac: str


@dataclass(frozen=True)
class Balancer:
    """A load balancer's two ports: `outer` to the hosts (untagged), `inner` to the chains (tagged)."""

    outer: Port
    inner: Port


@dataclass(frozen=True)
class Segment:
    """A pair of load balancers, by name, the VLAN ID of in-band asks, and the fixed NFs around the pair.

    `inserted`: the pair is in the way of the traffic from the beginning.
    """

    master: str
    slave: str
    ask_id: int
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    inserted: bool = True

    @property
    def fixed(self) -> tuple[str, ...]:
        return self.before + self.after


@dataclass(frozen=True)
class Network:
    """The network as the pure modules see it; `catenary.config` refuses what can't be wired."""

    switches: Mapping[str, int]
    hosts: Mapping[str, Host]
    nfs: Mapping[str, NetworkFunction]
    balancers: Mapping[str, Balancer]
    segments: Mapping[str, Segment]
    standbys: Mapping[str, Balancer] = field(default_factory=dict)
    """Where else a load balancer may be, by its name: nothing is led there."""

    def exchanged(self, names: Collection[str]) -> Network:
        """With these load balancers where their standbys were, and the other way round."""
        both = {name: (self.balancers[name], self.standbys[name]) for name in names}
        return replace(
            self,
            balancers={**self.balancers, **{name: there for name, (_, there) in both.items()}},
            standbys={**self.standbys, **{name: here for name, (here, _) in both.items()}},
        )

    def outers(self, switch: str) -> list[Port]:
        """The outer ports of load balancers on this switch, sorted."""
        return sorted(lb.outer for lb in self.balancers.values() if lb.outer.switch == switch)

    def fixed(self) -> dict[str, str]:
        """The NFs that are no part of a chain, each with its segment."""
        return {nf: name for name, segment in self.segments.items() for nf in segment.fixed}

    def fixed_before(self, outer: Port) -> list[tuple[Port, Port]]:
        """The fixed NFs that a frame out of this outer port crosses: (port in, port out) of each."""
        crossed = []
        for segment in self.segments.values():
            if self.balancers[segment.master].outer == outer:
                nfs = [self.nfs[name] for name in reversed(segment.before)]
                crossed += [(Port(nf.switch, nf.egress), Port(nf.switch, nf.ingress)) for nf in nfs]
            if self.balancers[segment.slave].outer == outer:
                nfs = [self.nfs[name] for name in segment.after]
                crossed += [(Port(nf.switch, nf.ingress), Port(nf.switch, nf.egress)) for nf in nfs]
        return crossed

    def stripped_ports(self, switch: str) -> list[Port]:
        """The ports on this switch whose NF is for chains and sees no tag, sorted."""
        return sorted(
            Port(switch, port)
            for name, nf in self.nfs.items()
            if nf.switch == switch and nf.tags is TagMode.STRIPPED and name not in self.fixed()
            for port in (nf.ingress, nf.egress)
        )

    def host_ports(self, switch: str) -> dict[Port, list[str]]:
        """Every host port on this switch with the Ethernet addresses behind it."""
        ports: dict[Port, list[str]] = {}
        for host in sorted(self.hosts.values(), key=lambda host: (host.port, host.mac)):
            if host.port.switch == switch:
                ports.setdefault(host.port, []).append(host.mac)
        return ports

    def attached(self) -> frozenset[Port]:
        """Every port that the file gives to something: discovery never uses one of these."""
        nfs = {Port(nf.switch, port) for nf in self.nfs.values() for port in (nf.ingress, nf.egress)}
        places = [*self.balancers.values(), *self.standbys.values()]
        balancers = {port for lb in places for port in (lb.outer, lb.inner)}
        return frozenset(nfs | balancers | {host.port for host in self.hosts.values()})
