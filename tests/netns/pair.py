"""One load balancer pair in namespaces; the wire between its inner ports is chains and bypass path at once.

    client 10.0.0.1 -- l1o [master] l1i == tagged == l2i [slave] l2o -- 10.0.0.2 server
           fd00::1                                                      fd00::2

Every tag that one LB sends is on the wire for the other: f_i from the master is chain traffic at the
slave, r_i from the slave is chain traffic at the master, and asks, hints and answers use the same wire
(in_port and VLAN ID tell them apart, affinity rule 3).
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from catenary.listen import Listen
from catenary.part_clients import BalancerClient
from catenary.service import server
from catenary.session import Timeouts
from catenary.tags import TagPair
from lb_adapter.dataplane.base import DataPlane, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.master import Master
from lb_adapter.rest import build
from lb_adapter.slave import Slave
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

ASK = 4094
SHORT = Timeouts(
    tcp_opening=1.0,
    tcp_established=30.0,
    tcp_closing=0.5,
    udp=30.0,
    other=0.5,
    neighbour=0.5,
    lease=0.4,
    transit=0.25,
)
"""Short where tests wait for an end. Sessions that they keep open outlive every pause of the machine, and it
holds no frame up for as long as `transit`."""
CLIENT, SERVER = "client", "server"
ADDRESS = {(CLIENT, 4): "10.0.0.1", (SERVER, 4): "10.0.0.2", (CLIENT, 6): "fd00::1", (SERVER, 6): "fd00::2"}
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@dataclass
class Setting:
    """What the cases run on; a test of another data plane changes it in its own process."""

    plane: Callable[[], DataPlane] = lambda: EbpfDataPlane(pins=4096)
    offloads: bool = True


setting = Setting()


def wire_up() -> None:
    """The namespaces and links of the drawing, inside the calling test's own namespace."""
    for near, far in (("l1o", "c0"), ("l2o", "s0"), ("l1i", "l2i")):
        ip("link", "add", near, "type", "veth", "peer", "name", far)
    for name, link, host in ((CLIENT, "c0", 1), (SERVER, "s0", 2)):
        ip("netns", "add", name)
        ip("link", "set", link, "netns", name)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "address", "add", f"10.0.0.{host}/24", "dev", link)
        ip("-n", name, "address", "add", f"fd00::{host}/64", "dev", link, "nodad")
        ip("-n", name, "link", "set", link, "up")
        if not setting.offloads:
            off = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")
            run = ("ip", "netns", "exec", name, "ethtool", "-K", link, *off)
            subprocess.run(run, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Sockets made by this thread in the block belong to `namespace`, and go on doing so afterwards."""
    with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{namespace}") as there:
        assert _libc.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert _libc.setns(here.fileno(), 0) == 0


class Session:
    """A TCP session through the pair, opened by `opener`; `talk` sends a line each way."""

    def __init__(self, opener: str = CLIENT, family: int = 4) -> None:
        other = SERVER if opener == CLIENT else CLIENT
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        with inside(other):
            listener = socket.create_server((ADDRESS[other, family], 0), family=kind)
        with listener:
            with inside(opener):
                self.near = socket.socket(kind)
            self.near.settimeout(PATIENCE_S)
            self.near.connect(listener.getsockname()[:2])
            self.far, _ = listener.accept()
        self.far.settimeout(PATIENCE_S)

    def talk(self) -> None:
        for a, b in ((self.near, self.far), (self.far, self.near)):
            a.sendall(b"hello")
            assert b.recv(5, socket.MSG_WAITALL) == b"hello"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.near.close()
        self.far.close()


class LoadBalancers:
    """Master and slave as daemons of this process, with their REST services on loopback."""

    def __init__(
        self,
        timeouts: Timeouts = SHORT,
        *,
        with_slave: bool = True,
        rewrites: bool = False,
        plane: Callable[[], DataPlane] | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._plane = plane or setting.plane
        self._rewrites = rewrites
        self._stack = ExitStack()
        self._roles: dict[int, ExitStack] = {}
        self.master_client = BalancerClient("http://127.0.0.1:8082", what="master")
        self.slave_client = BalancerClient("http://127.0.0.1:8083", what="slave")
        self._with_slave = with_slave

    def __enter__(self) -> Self:
        if self._with_slave:
            self.start_slave()
        self.start_master()
        if self._with_slave:
            wait_until(lambda: self.master_client.health().peer.connected, "handshake")
        return self

    def start_master(self) -> None:
        config = SpliceConfig("master", "l1o", "l1i", ASK, self._timeouts, rewrites=self._rewrites)
        self.master = Master(self._plane(), config, "main", self.slave_client)
        self._serve(self.master, 8082)

    def lose_master(self) -> None:
        """Its daemon, its programs and its tables."""
        self._roles.pop(8082).close()

    def lose_slave(self) -> None:
        """The same of the slave."""
        self._roles.pop(8083).close()

    def start_slave(self) -> None:
        config = SpliceConfig("slave", "l2o", "l2i", None, self._timeouts)
        self.slave = Slave(self._plane(), config, "main")
        self._serve(self.slave, 8083)

    def _serve(self, daemon: Master | Slave, port: int) -> None:
        role = self._roles[port] = self._stack.enter_context(ExitStack())
        daemon.start()
        role.callback(daemon.stop, detach=True)
        rest = server(build(daemon, None), Listen(port=port))
        thread = threading.Thread(target=rest.run, daemon=True)
        thread.start()

        def stop() -> None:
            rest.should_exit = True
            thread.join()

        role.callback(stop)
        wait_until(lambda: rest.started, "REST")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self.master_client.close()
        self.slave_client.close()

    def counter(self, role: str, name: str) -> int:
        client = self.master_client if role == "master" else self.slave_client
        return client.stats().counters[name]

    def sessions(self, tags: TagPair) -> int:
        return next(row.sessions for row in self.master_client.stats().pairs if row.forward == tags.forward)
