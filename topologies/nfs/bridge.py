"""A Linux bridge: the NF that does nothing."""

from __future__ import annotations

from topologies.nfs.function import Bridging

_MAKE = """\
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link add br0 type bridge mcast_snooping 0 forward_delay 0
"""
_JOIN = """\
for port in {ports}; do
  ip link set $port master br0
  ip link set $port up
done
ip link set br0 up
"""


class Bridge(Bridging):
    """The bridge `br0` between both ports."""

    def open(self) -> None:
        self.host.run(["sh", "-ec", _MAKE])
        self.prepare()
        self.host.run(["sh", "-ec", _JOIN.format(ports=" ".join(self.ports))])

    def close(self) -> None:
        self.host.attempt(["ip", "link", "del", "br0"])

    def prepare(self) -> None:
        """What must be there before the first frame is."""
