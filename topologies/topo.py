"""A blueprint as Mininet knows networks: a `Topo`, whose nodes bring along what each of them needs."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from mininet.link import OVSLink
from mininet.net import Mininet
from mininet.node import Node, OVSSwitch
from mininet.topo import Topo

from catenary.errors import Unavailable
from topologies.blueprint import Blueprint

NF_PORTS, BALANCER_PORTS = ("eth0", "eth1"), ("outer", "inner")

_NO_IPV6 = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
# Cubic, or reno where the host keeps cubic from namespaces: see namespaces.use_loss_based_tcp.
_LOSS_BASED = (
    "sysctl -qw net.ipv4.tcp_congestion_control=cubic 2> /dev/null"
    " || sysctl -qw net.ipv4.tcp_congestion_control=reno"
)


class Endpoint(Node):  # type: ignore[misc]
    """A client or server, with an address of each family."""

    def config(self, *, ipv6: str, **params: Any) -> Any:
        done = super().config(**params)
        _run(self, f"ip -6 addr add {ipv6}/64 dev {self.defaultIntf()} nodad; {_LOSS_BASED}")
        return done


class Bump(Node):  # type: ignore[misc]
    """A network function or load balancer: two ports without addresses on one switch."""

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **params)
        _run(self, _NO_IPV6)  # before its links are there: their own MLD would be tagged and steered


class BlueprintTopo(Topo):  # type: ignore[misc]
    """`blueprint` without the bumps in `left_out`; `datapath` is Mininet's word: "kernel" or "user".

    Raises `InvalidValue` for a network that can't be built.
    """

    def build(self, blueprint: Blueprint, datapath: str, left_out: Container[str] = ()) -> None:
        blueprint.check()
        for name, dpid in blueprint.switches.items():
            self.addSwitch(
                name, cls=OVSSwitch, dpid=f"{dpid:016x}", datapath=datapath, protocols="OpenFlow13"
            )
        for name, (switch, _) in blueprint.hosts.items():
            own = blueprint.addresses(name)
            self.addHost(name, cls=Endpoint, ip=f"{own.ipv4}/24", ipv6=own.ipv6, mac=own.mac)
            self.addLink(name, switch)
        bumps = [(name, switch, NF_PORTS) for name, switch in blueprint.nfs.items()]
        bumps += [(name, switch, BALANCER_PORTS) for name, switch in blueprint.balancers.items()]
        for name, switch, ports in bumps:
            if name not in left_out:
                self.addHost(name, cls=Bump, ip=None)
                for port in ports:
                    self.addLink(name, switch, intfName1=f"{name}-{port}")
        for a, b in blueprint.trunks:
            self.addLink(a, b, cls=OVSLink)


class BlueprintNet(Mininet):  # type: ignore[misc]
    """A network whose pings go between clients and servers: what has no address takes no part."""

    def endpoints(self) -> list[Endpoint]:
        return [host for host in self.hosts if isinstance(host, Endpoint)]

    def ping(self, hosts: list[Node] | None = None, timeout: str | None = None) -> Any:
        return super().ping(hosts or self.endpoints(), timeout)

    def pingFull(self, hosts: list[Node] | None = None, timeout: str | None = None) -> Any:  # noqa: N802
        return super().pingFull(hosts or self.endpoints(), timeout)


def _run(node: Node, script: str) -> None:
    """Run what says nothing unless it fails."""
    if said := node.cmd(script).strip():
        raise Unavailable(f"{node.name}: {script} failed: {said}")
