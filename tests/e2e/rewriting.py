"""Talks through network functions that translate, and what goes wrong with the pair around them."""

from __future__ import annotations

import socket
from collections.abc import Callable

from catenary.wire import OperationView
from topologies.hosts import inside
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.translated import SERVER


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
