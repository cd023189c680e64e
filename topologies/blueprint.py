"""What a network is made of, as data: `Wiring` builds it, `Testbed` runs Catenary on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from catenary.config import SegmentConfig
from catenary.errors import InvalidValue

LONGEST = 9
"""Characters of a node's name: interfaces of Linux have 15, `-outer` is six of them."""


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

    def check(self) -> None:
        """Raise `InvalidValue` that names what can't be built."""
        if faults := [*self._wrong_names(), *self._wrong_ends()]:
            raise InvalidValue(f"this network can't be built: {'; '.join(faults)}")

    def addresses(self, host: str) -> Addresses:
        """Those of a host: its number tells all of them."""
        _, number = self.hosts[host]
        return Addresses(f"10.0.0.{number}", f"fd00:ca7e::{number:x}", f"00:00:00:00:00:{number:02x}")

    def segment_of(self, balancer: str) -> str:
        """The segment that a load balancer belongs to."""
        own = self.place_of(balancer)
        return next(name for name, segment in self.segments.items() if own in (segment.master, segment.slave))

    def _wrong_names(self) -> Iterator[str]:
        names = Counter([*self.switches, *self.hosts, *self.nfs, *self.balancers, *self.wires])
        numbers = Counter(number for _, number in self.hosts.values())
        for name, count in names.items():
            if count > 1:
                yield f"two nodes are called {name!r}"
            if len(name) > LONGEST:
                yield f"{name!r} is too long for the names of its interfaces: use {LONGEST} characters"
        for name in self.balancers:
            if not re.fullmatch(r"l([1-9]\d?|1\d\d)", name):
                yield f"load balancer {name!r}: use l1 to l199"
        for name, (_, number) in self.hosts.items():
            if not 1 <= number <= 250 or numbers[number] > 1:
                yield f"host {name!r} has number {number}: use one of its own, from 1 to 250"

    def _wrong_ends(self) -> Iterator[str]:
        for name, switch in self._places().items():
            if switch not in self.switches:
                yield f"{name!r} is on {switch!r}, which is no switch here"
        for end in sorted({end for trunk in self.trunks for end in trunk} - self.switches.keys()):
            yield f"a trunk ends at {end!r}, which is no switch here"
        paired = {name for segment in self.segments.values() for name in (segment.master, segment.slave)}
        for name in sorted(paired ^ (self.balancers.keys() - self.standbys.keys())):
            yield f"load balancer {name!r} is not both on a switch and in a segment"

    def _places(self) -> dict[str, str]:
        """What hangs on which switch."""
        hosts = {name: switch for name, (switch, _) in self.hosts.items()}
        return {**hosts, **self.nfs, **self.balancers, **self.wires}


def balancer_address(name: str) -> str:
    """The address of load balancer `l1`, `l2`, ... on the control network."""
    return f"10.255.0.{10 + int(name.removeprefix('l'))}"
