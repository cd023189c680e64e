"""The oracle of `classify.h`: which entry of a classifier a session agrees with, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from catenary.classifier import WITH_PORTS, Prefix, Rule
from catenary.session import Address, End, SessionKey
from lb_adapter.core.oracle import ADDRESSES, CLIENT


@dataclass(frozen=True)
class Ends:
    """The ends of a session, as far as its key has them."""

    client: End
    server: End

    @classmethod
    def of(cls, key: SessionKey, client: End, server: End) -> Ends:
        """Coarse keys have no ports, and those of all a client's sessions have no server."""
        if key.kind == CLIENT:
            return cls(End(_unmapped(client.address)), End(IPv6Address(0)))
        if key.kind == ADDRESSES:
            return cls(End(_unmapped(client.address)), End(_unmapped(server.address)))
        return cls(End(_unmapped(client.address), client.port), End(_unmapped(server.address), server.port))


def _unmapped(address: Address) -> Address:
    """IPv4 that is written as IPv6 is IPv4, as it is in keys."""
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def entry_of(rules: Sequence[Rule], key: SessionKey, ends: Ends) -> int | None:
    """The entry of the first rule that a session agrees with, None if there is none: it passes by."""
    return next((rule.entry for rule in rules if _agrees(rule, key, ends)), None)


def _agrees(rule: Rule, key: SessionKey, ends: Ends) -> bool:
    return (
        _within(ends.client.address, rule.client)
        and _within(ends.server.address, rule.server)
        and rule.protocol in (None, key.kind)
        and (rule.ports is None or (key.kind in WITH_PORTS and _between(ends.server.port, rule.ports)))
        and (rule.vlan is None or rule.vlan in key.vlans)
    )


def _within(address: Address, prefix: Prefix | None) -> bool:
    return prefix is None or (address.version == prefix.version and address in prefix)


def _between(port: int, ports: tuple[int, int]) -> bool:
    return ports[0] <= port <= ports[1]
