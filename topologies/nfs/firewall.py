"""A stateful firewall: an L2 bridge whose forwarded packets pass nftables with connection tracking.

It follows every TCP session by its sequence numbers and takes up none in the middle
(`nf_conntrack_tcp_loose=0`), so a session of which it sees one direction only, or only a part, breaks.
Rules name no interface: for nftables both ports are the bridge.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from topologies.nfs.bridge import Bridge

_RULES = """\
table inet firewall {
  counter established { }
  counter opened { }
  counter icmp_opened { }
  counter dropped { }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related counter name established accept
    ct state invalid counter name dropped drop
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, \
mld-listener-query, mld-listener-report, mld2-listener-report } counter name icmp_opened accept
    icmp type echo-request counter name icmp_opened accept
    icmpv6 type echo-request counter name icmp_opened accept
    tcp flags & (fin | syn | rst | ack) == syn ct state new counter name opened accept
    udp dport != 0 ct state new counter name opened accept
    counter name dropped drop
  }
}
"""

_START = """\
sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
nft -f -
sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0
"""


@dataclass(frozen=True)
class FirewallCounters:
    """Packets since the start: of known sessions, that opened one, ICMP that opened one, and dropped ones."""

    established: int
    opened: int
    icmp_opened: int
    dropped: int

    @classmethod
    def parse(cls, text: str) -> FirewallCounters:
        """From `nft -j list counters`."""
        items = (item["counter"] for item in json.loads(text)["nftables"] if "counter" in item)
        return cls(**{item["name"]: item["packets"] for item in items})


class Firewall(Bridge):
    """The firewall on `host` between its ports; its host's kernel needs br_netfilter."""

    def prepare(self) -> None:
        self.host.run(["sh", "-ec", _START], stdin=_RULES)

    def close(self) -> None:
        super().close()
        self.host.attempt(["nft", "delete", "table", "inet", "firewall"])

    def counters(self) -> FirewallCounters:
        return FirewallCounters.parse(self.host.run(["nft", "-j", "list", "counters"]))

    def sessions(self) -> int:
        """Sessions that it tracks now."""
        return int(self.host.run(["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]))
