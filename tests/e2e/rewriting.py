"""The testbed with network functions that route and translate: clients and server are in two networks.

    h1 10.0.0.1, h3 10.0.0.3 -- 10.0.0.254 [n1 n2 n3] 10.9.0.254 -- 10.9.0.2 h2

The gateways are addresses of every copy. No neighbour entry is static.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from catenary.wire import OperationView, TimeoutsModel
from topologies.hosts import Host
from topologies.nfs.router import Side
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed

SERVER = "10.9.0.2"
TIMES = TimeoutsModel(tcp_closing=1, udp=20, other=5, neighbour=3, lease=2, transit=0.5)
"""TCP lives for hours: only what was exchanged can know it."""
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def rewriting_testbed() -> Iterator[Testbed]:
    """Up, with hosts in their two networks, and no network function yet."""
    with Testbed(timeouts=TIMES, rewrites=True, nf_rate_mbit=None) as testbed:
        for firewall in testbed.firewalls.values():
            firewall.stop()
        for name in ("h1", "h3"):
            testbed.hosts[name].run(["ip", "route", "add", "10.9.0.0/16", "via", "10.0.0.254"])
        move = f"ip addr flush dev h2-eth0; ip addr add {SERVER}/24 dev h2-eth0; "
        testbed.hosts["h2"].run(["sh", "-ec", move + "ip route add default via 10.9.0.254"])
        yield testbed


def sides(name: str) -> tuple[Side, Side]:
    """Ingress and egress of n1, n2 or n3."""
    number = 100 + int(name[1:])
    return (
        Side(f"{name}-eth0", f"10.0.0.{number}/24", "10.0.0.254/24"),
        Side(f"{name}-eth1", f"10.9.0.{number}/24", "10.9.0.254/24"),
    )


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """Sockets made by this thread in the block are the host's, and stay so."""
    with open("/proc/thread-self/ns/net") as here, open(f"/proc/{host.pid}/ns/net") as there:
        assert _libc.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert _libc.setns(here.fileno(), 0) == 0


class TcpTalk:
    """A TCP connection of h1 to the server."""

    def __init__(self, testbed: Testbed) -> None:
        with inside(testbed.hosts["h2"]):
            listener = socket.create_server((SERVER, 0))
        with listener:
            with inside(testbed.hosts["h1"]):
                self.near = socket.socket()
            self.near.settimeout(PATIENCE_S)
            self.near.connect(listener.getsockname())
            listener.settimeout(PATIENCE_S)
            self.far, self.seen_as = listener.accept()
        self.far.settimeout(PATIENCE_S)

    def talk(self) -> None:
        """A line of the server, and one of the client."""
        for a, b in ((self.far, self.near), (self.near, self.far)):
            a.sendall(b"hello")
            assert b.recv(5, socket.MSG_WAITALL) == b"hello"

    def close(self) -> None:
        self.near.close()
        self.far.close()


class UdpTalk:
    """A UDP session of h1 or h3 with the server; `port` is the client's."""

    def __init__(self, testbed: Testbed, host: str = "h1", port: int = 0) -> None:
        with inside(testbed.hosts["h2"]):
            self.far = socket.socket(type=socket.SOCK_DGRAM)
            self.far.bind((SERVER, 0))
        with inside(testbed.hosts[host]):
            self.near = socket.socket(type=socket.SOCK_DGRAM)
            self.near.bind(("", port))
        self.near.connect(self.far.getsockname())
        for end in (self.near, self.far):
            end.settimeout(0.5)
        self.seen_as: object = None
        self._say(lambda: self.near.send(b"open"), self.far)

    def _say(self, send: Callable[[], object], to: socket.socket) -> None:
        """UDP may lose one: the first packet of all finds no neighbour."""
        for _ in range(40):
            send()
            try:
                _, source = to.recvfrom(100)
            except TimeoutError:
                continue
            if to is self.far:
                assert self.seen_as in (None, source), "the address that the session has outside"
                self.seen_as = source
            return
        raise AssertionError("no answer to 40 datagrams")

    def talk(self) -> None:
        self._say(lambda: self.far.sendto(b"hello", self.seen_as), self.near)  # type: ignore[arg-type]
        self._say(lambda: self.near.send(b"hello"), self.far)

    def close(self) -> None:
        self.near.close()
        self.far.close()


def wait_for_exchange(testbed: Testbed) -> None:
    """Until an exchange of keys that began later than now is complete."""
    begun = time.monotonic()

    def exchanged() -> bool:
        lag = testbed.balancers["l1"].health().peer.lag
        return lag is not None and lag < time.monotonic() - begun

    wait_until(exchanged, "no exchange of keys")


def begin_removal(testbed: Testbed, chain: str) -> OperationView:
    """The operation; the chain gets no new session any more."""
    operation = testbed.management.remove_chain(chain)
    wait_until(lambda: testbed.management.chain(chain).state == "cooling", f"{chain} does not cool down")
    return operation


def lose_tables(testbed: Testbed, balancer: str) -> None:
    """The load balancer is killed, its tables are gone, and it is started again."""
    testbed.kill(balancer)
    for item in (testbed.run_dir / "bpf" / balancer).iterdir():
        item.unlink()
    testbed.services.restart(balancer, wait=False)
    testbed.services.wait_ready()
    master = testbed.balancers["l1"]
    wait_until(lambda: master.health().peer.connected, "the pair is not together again")


def mismatches(testbed: Testbed) -> dict[str, int]:
    return {name: lb.stats().counters["affinity_mismatch"] for name, lb in testbed.balancers.items()}
