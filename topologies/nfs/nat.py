"""A source NAT: a router whose nftables give clients addresses of a pool of its own.

It follows every TCP session and takes up none in the middle (`nf_conntrack_tcp_loose=0`). A reply to an
address that is not in its pool, or to a session that it does not know, is dropped and counted: it belongs to
another copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from topologies.hosts import Host
from topologies.nfs import router
from topologies.nfs.function import NetworkFunction
from topologies.nfs.router import Side

_RULES = """\
table ip nat {{
  counter opened {{ }}
  counter established {{ }}
  counter stray {{ }}
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{egress}" snat to {first}-{last}
  }}
  chain check {{
    type filter hook prerouting priority dstnat - 10; policy accept;
    iifname "{egress}" ip daddr {own} accept
    iifname "{egress}" ip daddr != {pool} counter name stray drop
    iifname "{egress}" ct state != {{ established, related }} counter name stray drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related counter name established accept
    ct state invalid counter name stray drop
    iifname "{ingress}" ct state new counter name opened accept
    counter name stray drop
  }}
}}
"""


@dataclass(frozen=True)
class NatCounters:
    """Packets since the start: that opened a session, of known sessions, and of what is not its own."""

    opened: int
    established: int
    stray: int


class Nat(NetworkFunction):
    """The NAT on `host` from `ingress` (clients) to `egress` (servers); `pool` is what it translates to."""

    def __init__(self, host: Host, ingress: Side, egress: Side, pool: str) -> None:
        self.host = host
        self._sides = ingress, egress
        self.pool = IPv4Network(pool)

    def start(self) -> None:
        """Bring it up. Raises `Unavailable` with what a tool said."""
        ingress, egress = self._sides
        router.start(self.host, ingress, egress)
        rules = _RULES.format(
            ingress=ingress.port,
            egress=egress.port,
            own=egress.own.partition("/")[0],
            pool=self.pool,
            first=self.pool[0],
            last=self.pool[-1],
        )
        self.host.run(["nft", "-f", "-"], stdin=rules)
        self.host.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0"])

    def stop(self) -> None:
        """Take it away: nothing passes any more."""
        self.host.run(["nft", "delete", "table", "ip", "nat"])
        router.stop(self.host, *self._sides)

    def counters(self) -> NatCounters:
        return NatCounters(**router.counters(self.host))
