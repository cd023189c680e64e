"""The classifier of a segment as `struct rule` of core/abi.h, there and back."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import Any

from catenary.classifier import PORT_MAX, Prefix, Rule
from catenary.session import End
from lb_adapter import abi

_MAPPED = 96
"""Bits before an IPv4 address that is written as IPv6: ::ffff:a.b.c.d."""
_Words = tuple[int, int]


def write(item: Any, rules: Sequence[Rule], bypass: int | None) -> None:
    """Fill in the rules of a `struct place_table`; `bypass` is the slot of what agrees with none."""
    item.bypass = abi.NO_SLOT if bypass is None else bypass
    item.rules = len(rules)
    for row, rule in zip(item.rule, rules, strict=False):
        row.client, row.client_mask = _words(rule.client)
        row.server, row.server_mask = _words(rule.server)
        row.client_ipv6, row.server_ipv6 = (_is_ipv6(prefix) for prefix in (rule.client, rule.server))
        row.protocol, row.protocol_mask = _exactly(rule.protocol)
        row.vlan, row.vlan_mask = _exactly(rule.vlan)
        row.first_port, row.last_port = rule.ports or (0, PORT_MAX)
        row.traffic = 1 + rule.entry


def read(item: Any) -> tuple[Rule, ...]:
    """The rules of a `struct place_table`."""
    return tuple(_rule(row) for row in item.rule[0 : item.rules])


def _rule(row: Any) -> Rule:
    ports = (row.first_port, row.last_port)
    return Rule(
        row.traffic - 1,
        _prefix(row.client, row.client_mask, row.client_ipv6),
        _prefix(row.server, row.server_mask, row.server_ipv6),
        row.protocol or None,
        None if ports == (0, PORT_MAX) else ports,
        row.vlan or None,
    )


def _exactly(value: int | None) -> tuple[int, int]:
    """A number and its mask."""
    return (0, 0) if value is None else (value, 0xFFFF)


def _is_ipv6(prefix: Prefix | None) -> bool:
    return prefix is not None and prefix.version == 6


def _words(prefix: Prefix | None) -> Iterator[_Words]:
    """Address and mask as they lie in memory."""
    if prefix is None:
        return iter(((0, 0), (0, 0)))
    bits = prefix.prefixlen + (_MAPPED if prefix.version == 4 else 0)
    mask = ((1 << bits) - 1) << (128 - bits)
    return iter((_split(End(prefix.network_address).pack()[:16]), _split(mask.to_bytes(16, "big"))))


def _split(raw: bytes) -> _Words:
    first, second = struct.unpack("=QQ", raw)
    return first, second


def _prefix(address: Any, mask: Any, ipv6: int) -> Prefix | None:
    raw, bits = (struct.pack("=QQ", *words) for words in (address, mask))
    length = int.from_bytes(bits, "big").bit_count()
    if ipv6:
        return ip_network((raw, length))
    return ip_network((raw[12:], length - _MAPPED)) if length else None
