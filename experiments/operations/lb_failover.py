"""A load balancer's machine is gone: how long until its standby carries its sessions, and does it have all?

Real are the load balancers, the stream between them, and what watches and decides in the management system. A
stand-in for the controller leads traffic from one place to the other by the ports of two bridges.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from catenary import libbpf, wire
from catenary.config import ServiceConfig
from catenary.errors import Unavailable
from catenary.part_clients import BalancerClient
from experiments.bench.net import CLIENT, SERVER, Network, shell
from experiments.bench.pair import ASK, CHAINS
from experiments.bench.paths import blast
from experiments.operations.plan import Plan
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from lb_adapter import abi, records
from mgmt_system.current import Current
from mgmt_system.failover import TIMEOUT, Failover
from mgmt_system.journal import Event
from mgmt_system.peers import Peers
from topologies.hosts import Host
from topologies.namespaces import mount_bpffs
from topologies.patience import PATIENCE_S
from topologies.services import Service, Services, wait_until

TRANSIT, AFTER = 0.3, 0.3
"""s: D of this pair, whose paths take far less; how long both must miss a load balancer."""
REACHED = 0.1
"""s before the death: what is at the standby then must be there afterwards."""
ROLES: Mapping[str, wire.Role] = {"lb_failover": "master", "lb_failover_slave": "slave"}
"""Whose machine dies, by what its figures begin with."""
CLAIMS = tuple(
    claim
    for name in ROLES
    for claim in (Claim(f"{name}_s", at_most=1), Claim(f"{name}_pins_lost", at_least=0, at_most=0))
)
ROOM, RATE = 1.5, 5000.0
PORTS = {"active": 8082, "other": 8083, "standby": 8084}
"""`other` is the other half of the pair."""
URLS = {name: f"http://127.0.0.1:{port}" for name, port in PORTS.items()}
PINS = Path("/run/catenary/bpf")
SILENT = "\n".join(
    f"nft add rule inet gone input tcp {end} {PORTS['active']} drop" for end in ("dport", "sport")
)
DOCUMENT = f"""
switches: {{s1: 1, s2: 2}}
nfs: {{}}
balancers:
  lost:
    {{switch: s1, outer: a, inner: b, url: "{URLS["active"]}",
     standby: {{outer: c, inner: d, url: "{URLS["standby"]}", after: {AFTER}}}}}
  other: {{switch: s2, outer: a, inner: b, url: "{URLS["other"]}"}}
segments: {{main: {{%s}}}}
"""
BOTH = {"master": "master: lost, slave: other", "slave": "master: other, slave: lost"}


@dataclass(frozen=True)
class Side:
    """Where the load balancer stands that dies. What is measured comes from the host beside it."""

    role: wire.Role

    @property
    def other(self) -> tuple[str, str]:
        """Outer and inner port of the other half."""
        return ("l2o", "l2i") if self.role == "master" else ("l1o", "l1i")

    @property
    def host(self) -> str:
        """The port to the host beside it."""
        return "l1o" if self.role == "master" else "l2o"


def measure(plan: Plan, say: Say) -> Part:
    """The longest of `lb_failovers` of each role, from the death to the first frame that comes out again."""
    figures: dict[str, Figure] = {}
    details: list[str] = []
    for name, role in ROLES.items():
        took, lost = [], 0
        for number in range(plan.lb_failovers):
            side = Side(role)
            with _network(side) as network, _balancers(network, side, plan.lb_sessions) as site:
                seconds, gone, lag = _fail_over(network, site, plan.lb_sessions)
            took.append(seconds)
            lost += gone
            details.append(
                f"{name} {number + 1}: {seconds:.3f} s, {gone} of {plan.lb_sessions} pins lost, "
                f"the stream was {lag:.2f} s behind"
            )
            say(details[-1])
        bounds = f"transit {TRANSIT:g} s, missed for {AFTER:g} s, {plan.lb_sessions} pins"
        unit = f"s, the longest of {len(took)} (shortest {min(took):.3f}); {bounds}"
        figures[f"{name}_s"] = Figure(round(max(took), 3), unit)
        figures[f"{name}_pins_lost"] = Figure(lost, f"pins that were at the standby {REACHED:g} s before")
    return Part(figures, CLAIMS, details)


@contextmanager
def _network(side: Side) -> Iterator[Network]:
    """Two bridges that learn nothing join each side's ports; those of the standby are down."""
    with Network() as network:
        network.bumps(wired=False)
        network.link("middle", side.other[1])
        sides = {"outside": [side.host], "inside": ["middle"]}
        try:
            for name, ends in (("active", ("ao", "ai")), ("standby", ("bo", "bi"))):
                for end, ports in zip(ends, sides.values(), strict=True):
                    network.link(end, f"x{end}")
                    ports.append(f"x{end}")
                    if name == "standby":
                        shell(f"ip link set x{end} down")
            for bridge, ports in sides.items():
                shell(f"ip link add {bridge} type bridge mcast_snooping 0 forward_delay 0")
                shell(f"ip link set {bridge} up")
                for port in ports:
                    shell(f"ip link set {port} master {bridge}")
                    shell(f"ip link set {port} type bridge_slave learning off")
            shell("nft add table inet gone")
            shell("nft 'add chain inet gone input { type filter hook input priority 0; }'")
            yield network
        finally:
            for bridge in sides:
                with suppress(Unavailable):
                    shell(f"ip link del {bridge}")
            with suppress(Unavailable):
                shell("nft delete table inet gone")


def _link(port: str) -> wire.LinkState:
    return "down" if "DOWN" in shell(f"ip -brief link show {port}").split()[1] else "up"


@dataclass
class _Switches:
    """In the controller's place: who is led to, done when the call returns."""

    where: wire.Place = "first"

    def balancers(self) -> list[wire.AttachedBalancer]:
        ports = ("xao", "xai") if self.where == "first" else ("xbo", "xbi")
        outer, inner = map(_link, ports)
        return [
            wire.AttachedBalancer(
                name="lost", outer=outer, inner=inner, fenced=False, around=False, place=self.where
            )
        ]

    def place(self, balancer: str, place: wire.Place) -> wire.AttachedBalancer:
        shell("ip link set xao down; ip link set xai down; ip link set xbo up; ip link set xbi up")
        self.where = place
        return self.balancers()[0]


@dataclass
class _Book:
    """In the journal's place."""

    leads: bool = True
    events: list[Event] = field(default_factory=list)

    def tell(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class _Site:
    """The three load balancers."""

    side: Side
    services: Services
    clients: dict[str, BalancerClient]

    def standing(self) -> wire.StandbyHealth:
        found = self.clients["standby"].health().standby
        if found is None:
            raise Unavailable("it is no standby")
        return found


@contextmanager
def _balancers(network: Network, side: Side, sessions: int) -> Iterator[_Site]:
    mount_bpffs(PINS)
    services = Services()
    clients = {name: BalancerClient(url, what=name) for name, url in URLS.items()}
    options = f"--sessions {round(sessions * ROOM)}"
    alike = f"--role {side.role} {options}"
    if side.role == "master":
        master, alike = "active", f"{alike} --peer {URLS['other']} --ask-id {ASK} --transit {TRANSIT}"
        other = f"--role slave {options}"
    else:
        master, pair = "other", f"--peer {URLS['active']} --peer-standby {URLS['standby']}"
        other = f"--role master {options} {pair} --ask-id {ASK} --transit {TRANSIT}"
    lines = {
        "active": f"{alike} --outer ao --inner ai",
        "other": f"{other} --outer {side.other[0]} --inner {side.other[1]}",
        "standby": f"{alike} --outer bo --inner bi --standby-of {URLS['active']}",
    }
    ready = {name: partial(lambda client: client.health().status == "ok", clients[name]) for name in lines}
    with ExitStack() as undo:
        undo.callback(shell, f"rm -rf {PINS}/active {PINS}/standby {PINS}/other")
        undo.callback(services.stop_all)
        for client in clients.values():
            undo.callback(client.close)
        for name, line in lines.items():
            words = f"lb run {line} --port {PORTS[name]} --pin {PINS}/{name}".split()
            services.start(Service(name, network.root, "lb_adapter", tuple(words), ready[name]))
        services.wait_ready()
        adds = [wire.PairAdd(forward=tags.forward, reverse=tags.reverse) for tags in CHAINS]
        clients[master].change(wire.Change(add=adds))
        yield _Site(side, services, clients)


def _fail_over(network: Network, site: _Site, sessions: int) -> tuple[float, int, float]:
    """Seconds without a frame, pins lost of those that had reached the standby, and its lag at the death."""
    source, target = (CLIENT, SERVER) if site.side.role == "master" else (SERVER, CLIENT)
    hosts = {CLIENT: network.client, SERVER: network.server}
    network.drop_all(hosts[target])
    _fill(hosts[source], source, target, sessions)
    known = ServiceConfig.load(DOCUMENT % BOTH[site.side.role], "the experiment's network")
    looks = [BalancerClient(url, timeout=TIMEOUT) for url in URLS.values()]
    by_url = {client.url: client for client in looks}
    peers = Peers(_Switches(), {}, at=lambda _, url: by_url[url.rstrip("/")])  # type: ignore[arg-type]
    orders = Peers(peers.controller, {}, at=lambda _, url: site.clients["standby"])
    watcher = Failover(_Book(), Current(known), peers, orders)  # type: ignore[arg-type]
    sender = blast(hosts[source], source, target, sessions=sessions, seconds=PATIENCE_S, rate=RATE)
    watcher.start()
    try:
        with _Carried(site.side.other[0]) as carried:
            wait_until(lambda: carried.now() > RATE, "traffic")
            before, lag = _pins("standby"), site.standing().lag or 0.0
            threading.Event().wait(REACHED)
            died = time.monotonic()
            shell(f"ip link set xao down; ip link set xai down\n{SILENT}")
            site.services.kill("active")
            wait_until(lambda: site.standing().state == "active", "the take-over")
            wait_until(lambda: carried.last() > died + AFTER, "traffic again")
            resumed = carried.first_after(died + AFTER)
        after = _pins("standby")
        gone = sum(after.get(key) != pin for key, pin in before.items())
        return resumed - died, gone, lag
    finally:
        watcher.stop()
        sender.kill()
        sender.wait()
        for client in looks:
            client.close()


def _fill(host: Host, source: str, target: str, sessions: int) -> None:
    """One frame of each session, until the standby has all."""
    sender = blast(host, source, target, sessions=sessions, seconds=PATIENCE_S)
    try:
        wait_until(lambda: len(_pins("active")) >= sessions, "a full table", interval=0.5)
    finally:
        sender.kill()
        sender.wait()
    wait_until(lambda: len(_pins("standby")) >= sessions, "all at the standby", interval=0.2)


def _pins(name: str) -> dict[bytes, int]:
    """Slot and generation of each session in a table."""
    table = libbpf.pinned_map(PINS / name / "pins4")
    if table is None:
        raise Unavailable(f"{name} has no table")
    try:
        found: dict[bytes, int] = {}
        kept = np.uint64(abi.mask("slot") | abi.mask("generation"))
        for keys, values in table.batches():
            words = np.frombuffer(values, dtype=records.PIN)["word"] & kept
            size = len(keys) // len(words)
            found |= {keys[i * size : (i + 1) * size]: int(word) for i, word in enumerate(words)}
        return found
    finally:
        libbpf.close_fd(table.fd)


class _Carried:
    """When frames went out of an interface: its counter, read all the time."""

    EVERY = 0.002

    def __init__(self, device: str) -> None:
        self._device = device
        self._begun = self._read()
        self._moments: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Carried:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> int:
        return int(Path("/proc/net/dev").read_text().split(f"{self._device}:")[1].split()[9])

    def _watch(self) -> None:
        count = self._begun
        while not self._stop.wait(self.EVERY):
            now, seen = time.monotonic(), self._read()
            if seen != count:
                self._moments.append(now)
            count = seen

    def now(self) -> int:
        """Frames since it began."""
        return self._read() - self._begun

    def last(self) -> float:
        return self._moments[-1]

    def first_after(self, moment: float) -> float:
        return next(at for at in self._moments if at > moment)
