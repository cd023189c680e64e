"""What the controller steers through: ports, links, and everything that is attached to a switch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from catenary.chain import NetworkFunction, TagMode
from catenary.errors import InvalidValue


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
    """The network file as the pure modules see it. Raises `InvalidValue` for what can't be wired."""

    switches: Mapping[str, int]
    hosts: Mapping[str, Host]
    nfs: Mapping[str, NetworkFunction]
    balancers: Mapping[str, Balancer]
    segments: Mapping[str, Segment]

    def __post_init__(self) -> None:
        self._check_datapaths()
        self._check_ports()
        self._check_edges()

    def _check_datapaths(self) -> None:
        owners: dict[int, str] = {}
        for name, dpid in self.switches.items():
            if not 0 < dpid < 1 << 64:
                raise InvalidValue(f"datapath ID {dpid} of switch {name!r} is out of range: use 1..2^64-1")
            if dpid in owners:
                raise InvalidValue(
                    f"switches {owners[dpid]!r} and {name!r} share datapath ID {dpid}: give each its own"
                )
            owners[dpid] = name

    def _check_ports(self) -> None:
        owners: dict[Port, str] = {host.port: f"host {name!r}" for name, host in self.hosts.items()}
        for port, owner in self._exclusive():
            if port in owners:
                raise InvalidValue(f"port {port} is given to {owners[port]} and to {owner}: use another")
            owners[port] = owner

    def _exclusive(self) -> Iterator[tuple[Port, str]]:
        for name, nf in self.nfs.items():
            for port in sorted({nf.ingress, nf.egress}):
                yield Port(nf.switch, port), f"NF {name!r}"
        for name, balancer in self.balancers.items():
            yield balancer.outer, f"the outer port of {name!r}"
            yield balancer.inner, f"the inner port of {name!r}"

    def _check_edges(self) -> None:
        for switch in self.switches:
            outers = self.outers(switch)
            hosts = any(host.port.switch == switch for host in self.hosts.values())
            if len(outers) > 2 or (len(outers) == 2 and hosts):
                raise InvalidValue(
                    f"switch {switch!r} holds the outer ports {', '.join(map(str, outers))}"
                    f"{' and hosts' if hosts else ''}: which of them a frame is for can't be told; "
                    "put the hosts or a load balancer on another switch"
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
        return frozenset(port for port, _ in self._exclusive()) | {host.port for host in self.hosts.values()}
