"""The wires of a network in Mininet: nodes, links, addresses, and its network file."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from mininet.cli import CLI
from mininet.link import Intf, OVSLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Node, OVSSwitch

from catenary.config import (
    BalancerAttachment,
    HostAttachment,
    NfAttachment,
    ServiceConfig,
    StandbyAttachment,
    TimeoutsConfig,
)
from catenary.errors import InvalidValue, Unavailable
from catenary.wire import TimeoutsModel
from topologies.blueprint import Blueprint, balancer_address
from topologies.hosts import Host
from topologies.patience import PATIENCE_S

CONTROL_BRIDGE, CONTROL_ADDRESS = "ctl", "10.255.0.1"
BALANCER_PORT = 8082
ATTACHABLE = ("l1", "l2")
OPENFLOW_PORT = 6653
_TARGETS = ("tcp:127.0.0.1", f"tcp:127.0.0.1:{OPENFLOW_PORT}")  # the same: this is the standard port

_NO_IPV6 = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
# Cubic, or reno where the host keeps cubic from namespaces: see namespaces.use_loss_based_tcp.
_LOSS_BASED = (
    "sysctl -qw net.ipv4.tcp_congestion_control=cubic 2> /dev/null"
    " || sysctl -qw net.ipv4.tcp_congestion_control=reno"
)


@dataclass(frozen=True)
class Attachment:
    """An external load balancer: this machine's interfaces in place of its links, and its REST URL."""

    balancer: str
    outer: str
    inner: str
    url: str

    @classmethod
    def parse(cls, text: str) -> Attachment:
        """From `l1=em1,em2[,URL]`; without the URL, that of the balancer's own place on `ctl`."""
        name, _, rest = text.partition("=")
        outer, _, tail = rest.partition(",")
        inner, _, url = tail.partition(",")
        if name not in ATTACHABLE:
            raise InvalidValue(
                f"--attach {text!r}: no load balancer {name!r} here, use {' or '.join(ATTACHABLE)}"
            )
        if not outer or not inner or outer == inner:
            raise InvalidValue(f"--attach {text!r}: name two interfaces, as in {name}=em1,em2")
        return cls(name, outer, inner, url or balancer_url(name))


def balancer_url(name: str) -> str:
    return f"https://{balancer_address(name)}:{BALANCER_PORT}"


class Wiring:
    """The Mininet network. `start` makes it, `stop` unmakes it; `config` is its network file."""

    def __init__(
        self,
        blueprint: Blueprint,
        logs: Path,
        *,
        datapath: str,
        attached: Mapping[str, Attachment],
        control_port: str | None = None,
    ) -> None:
        setLogLevel("warning")
        Mininet.inited = True  # or it would raise limits and sysctls of the whole machine
        self._blueprint = blueprint
        self._logs = logs
        self._attached = attached
        self._control_port = control_port
        self._net = Mininet(switch=OVSSwitch, link=OVSLink, controller=None, build=False)
        self._datapath = datapath
        self._nodes: dict[str, Node] = {}
        self._target = ""
        self.hosts: dict[str, Host] = {}

    def start(self) -> None:
        """Make nodes and links and start the switches. Returns when the hosts have their addresses."""
        _shell("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")  # the switches' ends of all links
        for name, dpid in self._blueprint.switches.items():
            self._nodes[name] = self._net.addSwitch(
                name, dpid=f"{dpid:016x}", datapath=self._datapath, protocols="OpenFlow13", batch=True
            )
        self._add_hosts()
        for name, switch in self._blueprint.nfs.items():
            self._add_bump(name, switch, ("eth0", "eth1"))
        for name, switch in self._blueprint.balancers.items():
            if name in self._attached:
                self._take_ports(self._attached[name], switch)
            else:
                self._add_bump(name, switch, ("outer", "inner"))
        for a, b in self._blueprint.trunks:
            self._net.addLink(self._nodes[a], self._nodes[b])
        self._net.build()
        self._make_control_network()
        self._net.start()
        self._add_wires()
        for name in self._blueprint.hosts:
            self._finish_host(name)

    def stop(self) -> None:
        # Before the nodes: the kernel takes its time over the links of a namespace that has ended.
        legs = "".join(
            f"ip link del {CONTROL_BRIDGE}-{name}\n"
            for name in self._blueprint.balancers.keys() - self._attached.keys()
        )
        _shell(f"{legs}ip link del {CONTROL_BRIDGE}")
        self._net.stop()

    def connect(self) -> None:
        """Have the switches connect to the controller now; their rules stay.

        Open vSwitch 3.1 ignores `max_backoff` and waits up to 8 s before it tries again, but it tries at once
        when the target is spelled anew. It must never be without one: that would flush the rules.
        """
        self._target = next(target for target in _TARGETS if target != self._target)
        _shell(
            "ovs-vsctl "
            + " ".join(f"-- set-controller {switch} {self._target}" for switch in self._blueprint.switches)
        )

    def shell(self) -> None:
        """Mininet's own command line, until its user leaves it."""
        setLogLevel("output")
        CLI(self._net)

    def config(self, timeouts: TimeoutsModel, *, rewrites: bool) -> ServiceConfig:
        """The network file of this wiring."""
        times = TimeoutsConfig(**timeouts.model_dump())
        hosts = {}
        for name, (switch, number) in self._blueprint.hosts.items():
            mac = f"00:00:00:00:00:{number:02x}"
            hosts[name] = HostAttachment(switch=switch, port=self.port(name, f"{name}-eth0"), mac=mac)
        nfs = {
            name: NfAttachment(
                switch=switch,
                ingress=self.port(name, f"{name}-eth0"),
                egress=self.port(name, f"{name}-eth1"),
            )
            for name, switch in self._blueprint.nfs.items()
        }
        for name, switch in self._blueprint.wires.items():
            ingress, egress = _wire_ports(name)
            nfs[name] = NfAttachment(switch=switch, ingress=ingress, egress=egress)
        return ServiceConfig(
            switches=dict(self._blueprint.switches),
            hosts=hosts,
            nfs=nfs,
            balancers={
                name: self._balancer(name, switch)
                for name, switch in self._blueprint.balancers.items()
                if name not in self._blueprint.standbys
            },
            segments={
                name: segment.model_copy(update={"timeouts": times, "rewrites": rewrites})
                for name, segment in self._blueprint.segments.items()
            },
        )

    def port(self, node: str, interface: str) -> str:
        """The switch port at the other end of a node's interface."""
        link = self._nodes[node].nameToIntf[interface].link
        return str(link.intf1.name if link.intf2.name == interface else link.intf2.name)

    def _balancer(self, name: str, switch: str) -> BalancerAttachment:
        attached = self._attached.get(name)
        if attached is not None:
            return BalancerAttachment(
                switch=switch, outer=attached.outer, inner=attached.inner, url=attached.url
            )
        spare = self._blueprint.standby_of(name)
        outer, inner, url = self._hangs(name)
        standby = (
            None
            if spare is None
            else StandbyAttachment.model_validate(
                dict(zip(("outer", "inner", "url"), self._hangs(spare), strict=True))
            )
        )
        return BalancerAttachment(switch=switch, outer=outer, inner=inner, url=url, standby=standby)

    def _hangs(self, name: str) -> tuple[str, str, str]:
        """A load balancer's two switch ports, and its URL."""
        return self.port(name, f"{name}-outer"), self.port(name, f"{name}-inner"), balancer_url(name)

    def _add_hosts(self) -> None:
        for name, (switch, number) in self._blueprint.hosts.items():
            node = self._net.addHost(name, ip=f"10.0.0.{number}/24", mac=f"00:00:00:00:00:{number:02x}")
            self._register(name, node, f"10.0.0.{number}", f"fd00:ca7e::{number:x}")
            self._net.addLink(node, self._nodes[switch])

    def _add_bump(self, name: str, switch: str, ports: tuple[str, str]) -> None:
        """A node without addresses whose two ports hang on one switch."""
        node = self._net.addHost(name, ip=None)
        node.cmd(_NO_IPV6)  # before its links are there: their own MLD would be tagged and steered
        balancer = name in self._blueprint.balancers
        self._register(name, node, balancer_address(name) if balancer else None, None)
        for port in ports:
            self._net.addLink(node, self._nodes[switch], intfName1=f"{name}-{port}")

    def _add_wires(self) -> None:
        """Patch ports, all in one transaction: each one of its own would take as long as all."""
        words = []
        for name, switch in self._blueprint.wires.items():
            for port, peer in permutations(_wire_ports(name)):
                words.append(f"-- add-port {switch} {port}")
                words.append(f"-- set interface {port} type=patch options:peer={peer}")
        if words:
            _shell(f"ovs-vsctl {' '.join(words)}")

    def _take_ports(self, attached: Attachment, switch: str) -> None:
        for name in (attached.outer, attached.inner):
            _shell(f"ip link set {name} up promisc on")
            Intf(name, node=self._nodes[switch])

    def _register(self, name: str, node: Node, ipv4: str | None, ipv6: str | None) -> None:
        self._nodes[name] = node
        self.hosts[name] = Host(name, node.pid, self._logs, ipv4, ipv6)

    def _finish_host(self, name: str) -> None:
        host = self.hosts[name]
        address = f"ip -6 addr add {host.ipv6}/64 dev {name}-eth0 nodad"
        host.run(["sh", "-c", f"{address}; {_LOSS_BASED}"])

    def _make_control_network(self) -> None:
        """A plain bridge that no OpenFlow rule can cut, with a leg to each load balancer."""
        bridge = CONTROL_BRIDGE
        lines = [
            f"ip link add {bridge} type bridge mcast_snooping 0 forward_delay 0",
            f"ip addr add {CONTROL_ADDRESS}/24 dev {bridge}",
            f"ip link set {bridge} up",
        ]
        if self._control_port is not None:
            lines.append(f"ip link set {self._control_port} master {bridge} up")
        for name in self._blueprint.balancers.keys() - self._attached.keys():
            pid = self.hosts[name].pid
            lines.append(f"ip link add {bridge}-{name} type veth peer name {name}-ctl netns {pid}")
            lines.append(f"ip link set {bridge}-{name} master {bridge} up")
            lines.append(
                f"nsenter --net=/proc/{pid}/ns/net ip addr add {balancer_address(name)}/24 dev {name}-ctl"
            )
            lines.append(f"nsenter --net=/proc/{pid}/ns/net ip link set {name}-ctl up")
        _shell("\n".join(lines))


def _wire_ports(name: str) -> tuple[str, str]:
    """Ingress and egress."""
    return f"{name}-in", f"{name}-out"


def _shell(script: str) -> None:
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode != 0:
        raise Unavailable(f"the testbed's wiring failed: {done.stderr.strip()} (in: {script})")
