"""What a network is made of, as data: `Wiring` builds it, `Testbed` runs Catenary on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from catenary.config import SegmentConfig


@dataclass(frozen=True)
class Addresses:
    """What a client or server is reached by."""

    ipv4: str
    ipv6: str
    mac: str


@dataclass(frozen=True)
class Blueprint:
    """One network. `switches` are datapath IDs, `trunks` the links between them.

    `hosts` are (switch, number): host number 7 has the addresses 10.0.0.7 and fd00:ca7e::7. Each of
    `nfs` is a firewall on two ports of its switch, every load balancer (`l1`, `l2`, ...) a bump on two ports
    of its own; `standbys` says which of them stand by for which. `wires` are NFs that do nothing, each a wire
    between two ports: hundreds of them cost little.
    """

    switches: Mapping[str, int]
    trunks: tuple[tuple[str, str], ...]
    hosts: Mapping[str, tuple[str, int]]
    nfs: Mapping[str, str]
    balancers: Mapping[str, str]
    segments: Mapping[str, SegmentConfig]
    wires: Mapping[str, str] = field(default_factory=dict)
    standbys: Mapping[str, str] = field(default_factory=dict)

    def place_of(self, balancer: str) -> str:
        """Its own name, or that of the one whose standby it is."""
        return self.standbys.get(balancer, balancer)

    def standby_of(self, balancer: str) -> str | None:
        """Its standby, if it has one."""
        return next((here for here, whose in self.standbys.items() if whose == balancer), None)

    def addresses(self, host: str) -> Addresses:
        """Those of a host: its number tells all of them."""
        _, number = self.hosts[host]
        return Addresses(f"10.0.0.{number}", f"fd00:ca7e::{number:x}", f"00:00:00:00:00:{number:02x}")

    def segment_of(self, balancer: str) -> str:
        """The segment that a load balancer belongs to."""
        own = self.place_of(balancer)
        return next(name for name, segment in self.segments.items() if own in (segment.master, segment.slave))


def balancer_address(name: str) -> str:
    """The address of load balancer `l1`, `l2`, ... on the control network."""
    return f"10.255.0.{10 + int(name.removeprefix('l'))}"
