"""The paper's testbed (its Fig. 4), with Catenary's services running on it.

               h3                n1 (an NF)
                |                |  |
         h1 --- s1 ------------- s3 --------------- s2 --- h2
               |  |                                |  |
               |  +------------- s4 ---------------+  |
               |  |              |  |              |  |
               |  |              n2                |  |
               |  +------------- s5 ---------------+  |
         outer | inner           |  |           outer | inner
               l1 (master)       n3                   l2 (slave)
                |                                     |
                +--- ctl (a bridge of its own) -------+--- controller, management system

Clients h1 and h3, the server h2; three NFs (firewalls, or what `--nf` names), each the one of a chain, on two
ports of its switch; two load balancers, bumps in the wire with both ports (outer, inner) on one switch.
Switches s1..s5 are Open vSwitch bridges joined by patch ports. Everything is inside one network, mount and
PID namespace, of which nothing is left when the process ends, however it ends.

    python -m topologies.testbed [--nf NF] [--shell] [--run-dir DIR] [--attach l1=em1,em2[,URL]] [--control P]
    mn --custom topologies/testbed.py --topo testbed[,nf=NF][,nf_rate=MBIT]

`--attach` takes two real network interfaces as switch ports in place of a load balancer's links (the paper's
hybrid form): the load balancer is then a machine outside, and `--control` joins an interface P to the
control network for it.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import typer
import yaml

from catenary.client import ManagementClient
from catenary.config import SegmentConfig, ServiceConfig
from catenary.errors import Unavailable
from catenary.part_clients import BalancerClient, ControllerClient
from catenary.token import read_token
from catenary.wire import ChainRequest, ChainView, Tags, TimeoutsModel
from lb_adapter.dataplane.base import PINS_DEFAULT
from topologies import commands, credentials, custom, hold, namespaces, readiness
from topologies.blueprint import Blueprint
from topologies.credentials import Credentials
from topologies.hosts import Host
from topologies.machine import check_links, links, processes
from topologies.nfs import function
from topologies.nfs.firewall import Firewall
from topologies.nfs.function import Maker, NetworkFunction
from topologies.ovs import OpenVSwitch
from topologies.patience import PATIENCE_S
from topologies.services import Service, Services, wait_until
from topologies.wiring import Attachment, Wiring, balancer_url

CONTROLLER_URL = f"http://127.0.0.1:{commands.CONTROLLER_PORT}"
AT = "python -m topologies.at"
MANAGEMENT_URL = f"http://127.0.0.1:{commands.MANAGEMENT_PORT}"
FLEETING = TimeoutsModel(
    tcp_opening=0.1,
    tcp_established=0.2,
    tcp_closing=0.1,
    udp=0.1,
    other=0.1,
    neighbour=0.1,
    lease=0.0625,
    transit=0.05,
)
"""So short that a chain without sessions drains at once."""
FIG4 = Blueprint(
    switches={"s1": 1, "s2": 2, "s3": 3, "s4": 4, "s5": 5},
    trunks=(("s1", "s3"), ("s3", "s2"), ("s1", "s4"), ("s4", "s2"), ("s1", "s5"), ("s5", "s2")),
    hosts={"h1": ("s1", 1), "h2": ("s2", 2), "h3": ("s1", 3)},
    nfs={"n1": "s3", "n2": "s4", "n3": "s5"},
    balancers={"l1": "s1", "l2": "s2"},
    segments={"main": SegmentConfig(master="l1", slave="l2")},
)


class Testbed:
    """A network with Catenary on it, as a context manager: up and ready inside, gone after it.

    Needs `namespaces.isolate()` before. Every file goes into `run_dir` (made if need be; by default one that
    ends with the namespace). With `services=False` only wires, NFs and switches are there. `nf` makes each
    NF, and `nf_rate_mbit` is its capacity (None: unlimited); `timeouts` are those of every segment,
    `sessions` the size of each session table, `data_plane` that of the load balancers; `rewrites`: chains
    change addresses.

    `hosts` are all nodes of the blueprint (h1 h2 h3 n1 n2 n3 l1 l2) and `root` (the namespace of switches,
    controller and management system); `nfs` are its NFs; `management`, `controller` and `balancers` are
    clients of the services.
    """

    __test__ = False  # its name looks like one to pytest

    hosts: dict[str, Host]
    nfs: dict[str, NetworkFunction]
    balancers: dict[str, BalancerClient]
    management: ManagementClient
    controller: ControllerClient
    network: ServiceConfig

    def __init__(
        self,
        *,
        blueprint: Blueprint = FIG4,
        run_dir: Path | None = None,
        services: bool = True,
        nf: Maker = Firewall,
        nf_rate_mbit: float | None = 40.0,
        timeouts: TimeoutsModel | None = None,
        sessions: int = PINS_DEFAULT,
        data_plane: str = "ebpf",
        rewrites: bool = False,
        attach: Sequence[Attachment] = (),
        control_port: str | None = None,
    ) -> None:
        namespaces.require_isolated()
        check_links([port for item in attach for port in (item.outer, item.inner)], control_port)
        self.run_dir = run_dir or Path(tempfile.mkdtemp(prefix="testbed-", dir=namespaces.PRIVATE))
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.ovs = OpenVSwitch(self.run_dir / "ovs")
        self.services = Services()
        self.blueprint = blueprint
        self.wiring = Wiring(
            blueprint,
            self.run_dir,
            datapath=self.ovs.datapath,
            attached={item.balancer: item for item in attach},
            control_port=control_port,
        )
        self._with_services = services
        self._nf = partial(nf, rate_mbit=nf_rate_mbit)
        self.nfs = {}
        self._timeouts = timeouts or TimeoutsModel()
        self._sessions = sessions
        self._data_plane = data_plane
        self._rewrites = rewrites
        self._undo = ExitStack()
        self._baseline: set[str] = set()
        self._links_before = links()
        self._processes_before = processes()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring everything up, wait until it is ready (health, switches, links). Called by `with`.

        It does not wait for load balancers outside (`attach`): `wait_for_balancers` does.
        """
        self._point_to_ovs()
        self._undo.callback(self.ovs.stop)
        self.ovs.start()
        self._undo.callback(self.wiring.stop)
        self.wiring.start()
        self._undo.callback(self._stop_nfs)
        self.hosts = {
            **self.wiring.hosts,
            "root": Host("root", os.getpid(), self.run_dir, "127.0.0.1", "::1"),
        }
        self.network = self.wiring.config(self._timeouts, rewrites=self._rewrites)
        self.network_file.write_text(yaml.safe_dump(self.network.model_dump(mode="json"), sort_keys=False))
        if self._with_services:
            self._start_services()
        self._start_nfs()
        self._connect_switches()
        self.services.wait_ready()
        self._baseline = self._rules()

    def stop(self) -> None:
        """Take everything down again. Called by `with`."""
        self._undo.close()

    @property
    def firewalls(self) -> dict[str, Firewall]:
        """Those of the NFs that are firewalls: all, unless others were asked for."""
        return {name: nf for name, nf in self.nfs.items() if isinstance(nf, Firewall)}

    @property
    def network_file(self) -> Path:
        return self.run_dir / "network.yaml"

    @property
    def hooks(self) -> Path:
        """The folder of programs that provisioners of chains may run."""
        return self.run_dir / "hooks"

    def add_chain(
        self,
        nfs: Sequence[str],
        *,
        name: str | None = None,
        tags: Tags | None = None,
        segment: str | None = None,
        timeout: float = PATIENCE_S,
    ) -> ChainView:
        """Ask the management system for a chain and wait until it is active."""
        request = ChainRequest(nfs=list(nfs), name=name, tags=tags, segment=segment)
        operation = self.management.add_chain(request)
        done = self.management.wait(operation, timeout, poll=0.02)
        if done.state == "failed":
            raise Unavailable(f"chain {done.chain} could not be added: {done.reason}")
        return self.management.chain(done.chain)

    def remove_chain(self, name: str, *, force: bool = False, timeout: float = PATIENCE_S) -> None:
        """Remove a chain and wait until it is drained and gone."""
        operation = self.management.remove_chain(name, force=force)
        done = self.management.wait(operation, timeout)
        if done.state == "failed":
            raise Unavailable(f"chain {name} could not be removed: {done.reason}")

    def wait_for_balancers(self, timeout: float = PATIENCE_S) -> None:
        """Wait until both load balancers are well, and know each other; for those outside."""
        for name, balancer in self.balancers.items():
            wait_until(partial(readiness.healthy, balancer), f"{name} is not ready", timeout)

    def pins(self, balancer: str) -> Path:
        """The folder on bpffs that holds a load balancer's tables."""
        return self.run_dir / "bpf" / balancer

    def kill(self, service: str) -> None:
        """SIGKILL to `controller`, `ms`, `l1` or `l2`."""
        self.services.kill(service)

    def restart(self, service: str, through: Sequence[str] = (), *, wait: bool = True) -> None:
        """Stop a service if it runs, start it again, wait until it is ready.

        `through` is a command that runs it, such as `nsenter ... --`.
        """
        self.services.restart(service, wait=False, through=through)
        if service == "controller":
            self._connect_switches()
        if wait:
            self.services.wait_ready([service])

    def interface(self, node: str, port: str) -> str:
        """The switch-side end (in `root`) of a node's port, for taps: ("n1", "eth0") or ("l1", "outer")."""
        return self.wiring.port(node, f"{node}-{port}")

    def describe(self) -> str:
        """Where everything is, for people."""
        lines = [f"run directory      {self.run_dir}", f"get inside by      {AT} root"]
        lines += [f"management system  {MANAGEMENT_URL}", f"controller         {CONTROLLER_URL}"]
        lines += [f"load balancer {name}   {config.url}" for name, config in self.network.balancers.items()]
        for name in self.blueprint.hosts:
            host = self.hosts[name]
            lines.append(f"host {name}            {host.ipv4}  {host.ipv6}  ({AT} {name})")
        return "\n".join(lines)

    def leftovers(self) -> list[str]:
        """What is left, as lines of text; empty when nothing is.

        While up: rules, tags and pins of chains. After `stop`: processes and network interfaces.
        """
        if not self.ovs.running():
            left = [f"network interface {link}" for link in sorted(links() - self._links_before)]
            return left + [f"process {name}" for name in sorted(processes() - self._processes_before)]
        left = [f"OpenFlow rule on {rule}" for rule in sorted(self._rules() - self._baseline)]
        if self._with_services:
            left += [f"steered chain {chain.name}" for chain in self.controller.chains()]
            for name, balancer in self.balancers.items():
                pairs = balancer.pairs().pairs
                left += [f"tags {pair.forward}-{pair.reverse} at {name}" for pair in pairs]
                pins = balancer.stats().pins
                left += [f"{pins} pins at {name}"] if pins else []
        return left

    def lasting_leftovers(self) -> list[str]:
        """`leftovers` once there are none, or else those that stay: what ends takes its time."""
        with suppress(Unavailable):
            wait_until(lambda: not self.leftovers(), "nothing left")
        return self.leftovers()

    def _start_nfs(self) -> None:
        for name in self.blueprint.nfs:
            self.nfs[name] = self._nf(self.hosts[name], f"{name}-eth0", f"{name}-eth1")
            if self.nfs[name].reads_frames:
                for port in ("eth0", "eth1"):
                    self.hosts["root"].run(["ethtool", "-K", self.interface(name, port), "tx", "off"])
        function.start_all(self.nfs.values())

    def _stop_nfs(self) -> None:
        for nf in self.nfs.values():
            nf.stop()

    def _connect_switches(self) -> None:
        """Once the controller listens: a switch that is refused comes back late."""

        def answers() -> bool:
            self.services.check_running("controller")
            return bool(self.controller.health().status)

        if self._with_services:
            wait_until(answers, "the controller does not answer", interval=0.05)
        self.wiring.connect()

    def _point_to_ovs(self) -> None:
        """Let Mininet and every `ovs-*` command find this instance, until the end."""
        for key, value in self.ovs.environment.items():
            before = os.environ.get(key)
            undo = (os.environ.pop, key, None) if before is None else (os.environ.__setitem__, key, before)
            self._undo.callback(*undo)
            os.environ[key] = value

    def _start_services(self) -> None:
        urls = {name: config.url for name, config in self.network.balancers.items()}
        urls |= {name: balancer_url(name) for name in self.blueprint.standbys}
        addresses = {name: urlsplit(url).hostname or "" for name, url in urls.items()}
        made = credentials.make(self.run_dir / "credentials", addresses)
        bpffs = self.run_dir / "bpf"
        namespaces.mount_bpffs(bpffs)
        self._undo.callback(namespaces.unmount, bpffs)
        token = read_token(made.token_file)
        self.management = ManagementClient(MANAGEMENT_URL)
        self.controller = ControllerClient(CONTROLLER_URL)
        self.balancers = {
            name: BalancerClient(url, token=token, ca=made.ca, identity=made.identity())
            for name, url in urls.items()
        }
        self._undo.callback(self.services.stop_all)
        self.hooks.mkdir(exist_ok=True)
        # Closed first: a service that ends waits for its open TLS connections.
        for client in (self.management, self.controller, *self.balancers.values()):
            self._undo.callback(client.close)
        self.services.start(self._controller_service())
        for name in self.blueprint.balancers:
            if name in self.wiring.hosts:
                self.services.start(self._balancer_service(name, made))
        self.services.start(self._management_service(made))

    def _controller_service(self) -> Service:
        command = commands.controller(self.network_file, self.run_dir)
        ready = partial(readiness.settled, self.controller, self.blueprint, self.network)
        return Service("controller", self.hosts["root"], "controller", command, ready)

    def _management_service(self, made: Credentials) -> Service:
        command = commands.management(self.network_file, self.run_dir, made, self.hooks)
        # It answers: that is all; the others are asked themselves.
        return Service(
            "ms", self.hosts["root"], "mgmt_system", command, lambda: bool(self.management.health().status)
        )

    def _balancer_service(self, name: str, made: Credentials) -> Service:
        segment = self.blueprint.segment_of(name)
        config = self.network.segments[segment]
        tables = commands.tables(self._data_plane, self.pins(name), self._sessions)
        if self.blueprint.place_of(name) == config.master:
            slave = self.network.balancers[config.slave]
            command = commands.master(segment, config, tables, made, slave, name)
        else:
            command = commands.slave(segment, tables, made, name)
        of = self.blueprint.standbys.get(name)
        if of is not None:
            command = (*command, *commands.standby(balancer_url(of), made))
        client = self.balancers[name]
        # Half a pair is never well: when the other half is outside, answering is all that can be waited for.
        paired = {config.master, config.slave} <= self.wiring.hosts.keys()
        ready = partial(readiness.healthy, client) if paired else lambda: bool(client.health().status)
        return Service(name, self.hosts[name], "lb_adapter", command, ready)

    def _rules(self) -> set[str]:
        """Every switch's rules, without what changes by itself."""
        volatile = re.compile(r"(duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*, ")
        return {
            f"{switch}: {volatile.sub('', flow)}"
            for switch in self.blueprint.switches
            for flow in self.ovs.flows(switch)
        }


topos, Mininet, findController = custom.for_mn(testbed=Testbed)  # noqa: N816

if __name__ == "__main__":
    typer.run(hold.command(Testbed))
