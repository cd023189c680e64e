"""What the network functions that route have in common: they are copies of one router to their neighbours.

Each side has a gateway address and a MAC that all copies share, so that hosts need not know of copies, and an
address of its own for what a copy itself asks: only by that does a neighbour's answer find back to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from topologies.hosts import Host

MACS = ("02:ca:7e:00:00:01", "02:ca:7e:00:00:02")
"""Of the ingress and of the egress port, in every copy."""

_START = """\
set -e
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0
sysctl -qw net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.arp_ignore=1
"""
_PORT = """\
sysctl -qw net.ipv4.conf.{port}.rp_filter=0 net.ipv4.conf.{port}.send_redirects=0
ip link set {port} address {mac}
ip addr add {own} dev {port}
ip addr add {gateway} dev {port}
ip link set {port} up
"""


@dataclass(frozen=True)
class Side:
    """A port, with its `own` address and that of the `gateway` which all copies are, as ADDRESS/BITS."""

    port: str
    own: str
    gateway: str


def start(host: Host, ingress: Side, egress: Side) -> None:
    """Have the host route between both sides. Raises `Unavailable` with what a tool said."""
    sides = zip((ingress, egress), MACS, strict=True)
    ports = [_PORT.format(port=s.port, own=s.own, gateway=s.gateway, mac=mac) for s, mac in sides]
    host.run(["sh", "-c", _START + "".join(ports)])


def stop(host: Host, ingress: Side, egress: Side) -> None:
    """Nothing passes any more."""
    flush = "".join(f"ip addr flush dev {side.port}\n" for side in (ingress, egress))
    host.run(["sh", "-c", f"sysctl -qw net.ipv4.ip_forward=0\n{flush}"])


def counters(host: Host) -> dict[str, int]:
    """Packets by the names of the nftables counters."""
    text = host.run(["nft", "-j", "list", "counters"])
    items = (item["counter"] for item in json.loads(text)["nftables"] if "counter" in item)
    return {item["name"]: item["packets"] for item in items}
