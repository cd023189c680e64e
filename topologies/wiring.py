"""The wires of a network in Mininet: nodes, links, addresses, and its network file."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from mininet.cli import CLI
from mininet.link import Intf
from mininet.net import Mininet

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
from topologies.topo import BlueprintNet, BlueprintTopo

CONTROL_BRIDGE, CONTROL_ADDRESS = "ctl", "10.255.0.1"
BALANCER_PORT = 8082
ATTACHABLE = ("l1", "l2")
OPENFLOW_PORT = 6653
_TARGETS = ("tcp:127.0.0.1", f"tcp:127.0.0.1:{OPENFLOW_PORT}")  # the same: this is the standard port


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
        Mininet.inited = True  # or it would raise limits and sysctls of the whole machine
        self._blueprint = blueprint
        self._logs = logs
        self._attached = attached
        self._control_port = control_port
        self.topo = BlueprintTopo(blueprint, datapath, attached.keys())
        self.net = BlueprintNet(topo=self.topo, controller=None, build=False)
        self._target = ""
        self.hosts: dict[str, Host] = {}

    def start(self) -> None:
        """Make nodes and links and start the switches. Returns when the hosts have their addresses."""
        _shell("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")  # the switches' ends of all links
        self.net.build()
        for name, item in self._attached.items():
            self._take_ports(item, self._blueprint.balancers[name])
        self._register()
        self._make_control_network()
        self.net.start()
        self._add_wires()

    def stop(self) -> None:
        # Before the nodes: the kernel takes its time over the links of a namespace that has ended.
        legs = "".join(
            f"ip link del {CONTROL_BRIDGE}-{name}\n"
            for name in self._blueprint.balancers.keys() - self._attached.keys()
        )
        _shell(f"{legs}ip link del {CONTROL_BRIDGE}")
        self.net.stop()

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
        CLI(self.net)

    def config(self, timeouts: TimeoutsModel, *, rewrites: bool) -> ServiceConfig:
        """The network file of this wiring."""
        times = TimeoutsConfig(**timeouts.model_dump())
        hosts = {
            name: HostAttachment(
                switch=switch,
                port=self.port(name, f"{name}-eth0"),
                mac=self._blueprint.addresses(name).mac,
            )
            for name, (switch, _) in self._blueprint.hosts.items()
        }
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
        link = self.net[node].nameToIntf[interface].link
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
            Intf(name, node=self.net[switch])

    def _register(self) -> None:
        addresses: dict[str, tuple[str, ...]] = {
            name: (balancer_address(name),) for name in self._blueprint.balancers
        }
        for name in self._blueprint.hosts:
            own = self._blueprint.addresses(name)
            addresses[name] = (own.ipv4, own.ipv6)
        for node in self.net.hosts:
            self.hosts[node.name] = Host(node.name, node.pid, self._logs, *addresses.get(node.name, ()))

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
