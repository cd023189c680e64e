"""Which traffic enters the chains of a segment: rules over session keys, validated, without any behaviour.

A rule speaks of the clients' side and of the servers', not of who speaks first: so both directions of a
session agree with the same rules. What agrees with none of them passes by the chains.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from catenary.errors import InvalidValue
from catenary.tags import check_vlan_id

RULES_MAX = 64
"""Rules of a classifier: a load balancer has room for as many (MAX_RULES in lb_adapter/core/abi.h)."""
PROTOCOLS = {"tcp": (6,), "udp": (17,), "sctp": (132,), "icmp": (1, 58)}
"""IP protocol numbers by name; of ICMP, those of both IP versions."""
WITH_PORTS = frozenset({6, 17, 132})
PORT_MAX = 65535

Prefix = IPv4Network | IPv6Network
Ports = tuple[int, int]
"""First and last port."""


@dataclass(frozen=True)
class Rule:
    """Traffic that agrees with all that is given. `entry` is the entry of the classifier that it belongs to.

    `protocol` is an IP protocol number, `ports` are those of the servers' side, `vlan` is the ID of a tag
    that the user's frames bear.
    """

    entry: int
    client: Prefix | None = None
    server: Prefix | None = None
    protocol: int | None = None
    ports: Ports | None = None
    vlan: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.entry < RULES_MAX:
            raise InvalidValue(f"entry {self.entry} of a classifier is out of range: use 0..{RULES_MAX - 1}")
        if self.protocol is not None and not 0 < self.protocol < 256:
            raise InvalidValue(f"IP protocol {self.protocol} is out of range: use 1..255")
        if self.vlan is not None:
            check_vlan_id(self.vlan)
        if self.client and self.server and self.client.version != self.server.version:
            raise InvalidValue(
                f"clients {self.client} and servers {self.server} never meet: give both of one IP version"
            )
        if self.ports is not None:
            self._check_ports(*self.ports)

    def _check_ports(self, first: int, last: int) -> None:
        if self.protocol not in WITH_PORTS:
            raise InvalidValue("only TCP, UDP and SCTP have ports: give the protocol, or leave them out")
        if not 0 < first <= last <= PORT_MAX:
            raise InvalidValue(f"ports {first}-{last} are no range: use 1..{PORT_MAX}, the first one first")
