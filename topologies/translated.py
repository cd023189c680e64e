"""The testbed with network functions that route and translate: clients and server are in two networks.

    h1 10.0.0.1, h3 10.0.0.3 -- 10.0.0.254 [n1 n2 n3] 10.9.0.254 -- 10.9.0.2 h2

The gateways are addresses of every copy. No neighbour entry is static.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from catenary.errors import Unavailable
from catenary.wire import TimeoutsModel
from topologies.hosts import inside
from topologies.nfs.router import Side
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed

SERVER = "10.9.0.2"
TIMES = TimeoutsModel(tcp_closing=1, udp=20, other=5, neighbour=3, lease=2, transit=0.5)
"""TCP lives for hours: only what was exchanged can know it."""


@contextmanager
def rewriting_testbed(times: TimeoutsModel = TIMES) -> Iterator[Testbed]:
    """Up, with hosts in their two networks, and no network function yet."""
    with Testbed(timeouts=times, rewrites=True, nf_rate_mbit=None) as testbed:
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
            if b.recv(5, socket.MSG_WAITALL) != b"hello":
                raise Unavailable(f"the connection from {self.near.getsockname()} is cut")

    def close(self) -> None:
        self.near.close()
        self.far.close()


def wait_for_exchange(testbed: Testbed) -> None:
    """Until an exchange of keys that began later than now is complete.

    `lag` is as old as its answer: only counted back from before the question no exchange looks younger than
    it is.
    """
    begun = time.monotonic()

    def exchanged() -> bool:
        asked = time.monotonic()
        lag = testbed.balancers["l1"].health().peer.lag
        return lag is not None and lag < asked - begun

    wait_until(exchanged, "no exchange of keys")
