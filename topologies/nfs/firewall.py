"""A stateful firewall: an L2 bridge whose forwarded packets pass nftables with connection tracking.

It follows every TCP session by its sequence numbers and takes up none in the middle
(`nf_conntrack_tcp_loose=0`), so a session of which it sees one direction only, or only a part, breaks.
Rules name no interface: for nftables both ports are the bridge.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from topologies.hosts import Host
from topologies.started import Started

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
set -e
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link add br0 type bridge mcast_snooping 0 forward_delay 0
sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
nft -f -
sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0
for port in {ports}; do
  {shape}
  ip link set $port master br0
  ip link set $port up
done
ip link set br0 up
"""

_STOP = """\
ip link del br0
nft delete table inet firewall
for port in {ports}; do tc qdisc del dev $port root 2> /dev/null || true; done
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


class Firewall(Started):
    """The firewall on `host` between its ports `ingress` (clients) and `egress` (servers).

    `rate_mbit` is its capacity in each direction (Mbit/s; None: unlimited): the bottleneck of its chain.
    """

    def __init__(self, host: Host, ingress: str, egress: str, *, rate_mbit: float | None = 40.0) -> None:
        self.host = host
        self._ports = f"{ingress} {egress}"
        self._rate_mbit = rate_mbit

    def start(self) -> None:
        """Bring it up. Raises `Unavailable` with what a tool said, e.g. if the kernel has no br_netfilter."""
        shape = "true"
        if self._rate_mbit is not None:
            shape = (
                f"tc qdisc replace dev $port root tbf rate {self._rate_mbit:g}mbit burst 32kb latency 300ms"
            )
        self.host.run(["sh", "-c", _START.format(ports=self._ports, shape=shape)], stdin=_RULES)

    def stop(self) -> None:
        """Take the bridge away: nothing passes any more."""
        self.host.run(["sh", "-c", _STOP.format(ports=self._ports)])

    def counters(self) -> FirewallCounters:
        return FirewallCounters.parse(self.host.run(["nft", "-j", "list", "counters"]))

    def sessions(self) -> int:
        """Sessions that it tracks now."""
        return int(self.host.run(["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]))
