"""A cross-connection under real TCP: three replicas on one side, two on the other, all sessions kept.

    c0 -- o0 \\            / i0 -- s0
    c1 -- o1  -- splice --
    c2 -- o2 /            \\ i1 -- s1

All replicas of a side have one address, so that a session may go to any of them: but always to the same one.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from catenary.errors import Conflict, InvalidValue
from catenary.session import End, SessionKey
from lb_adapter.core.oracle import TCP
from lb_adapter.dataplane.cross import CrossConnection
from tests.isolation import isolated
from tests.netns.pair import SHORT, inside, ip
from topologies.patience import PATIENCE_S

CLIENTS, SERVERS = ("c0", "c1", "c2"), ("s0", "s1")
OUTERS, INNERS = ("o0", "o1", "o2"), ("i0", "i1")
ADDRESS = {"c": "10.0.0.1", "s": "10.0.0.2"}
MAC = {"c": "02:00:00:00:00:01", "s": "02:00:00:00:00:02"}
PORT = 80


def wire_up() -> None:
    for name, link in zip((*CLIENTS, *SERVERS), (*OUTERS, *INNERS), strict=True):
        side, other = name[0], "s" if name[0] == "c" else "c"
        ip("link", "add", link, "type", "veth", "peer", "name", name)
        ip("link", "set", link, "up")
        ip("netns", "add", name)
        ip("link", "set", name, "address", MAC[side], "netns", name)
        ip("-n", name, "address", "add", f"{ADDRESS[side]}/24", "dev", name)
        ip("-n", name, "link", "set", name, "up")
        ip("-n", name, "neighbour", "add", ADDRESS[other], "lladdr", MAC[other], "dev", name)


class Listeners:
    """One listener a replica; `accept` says which of them got a connection."""

    def __init__(self, replicas: tuple[str, ...], stack: ExitStack) -> None:
        self._selector = stack.enter_context(selectors.DefaultSelector())
        for name in replicas:
            with inside(name):
                listener = stack.enter_context(socket.create_server((ADDRESS[name[0]], PORT)))
            self._selector.register(listener, selectors.EVENT_READ, name)

    def accept(self) -> tuple[str, socket.socket]:
        ready = self._selector.select(PATIENCE_S)
        assert len(ready) == 1, [key.data for key, _ in ready]
        listener = ready[0][0].fileobj
        assert isinstance(listener, socket.socket)
        return str(ready[0][0].data), listener.accept()[0]


def opened(name: str, port: int) -> socket.socket:
    """A connection from this replica's `port` to the address of the other side."""
    with inside(name):
        near = socket.socket()
    near.settimeout(PATIENCE_S)
    near.bind((ADDRESS[name[0]], port))
    near.connect((ADDRESS["s" if name[0] == "c" else "c"], PORT))
    return near


@isolated
def test_every_session_keeps_one_interface_of_each_side() -> None:
    wire_up()
    with ExitStack() as stack:
        cross = stack.enter_context(CrossConnection(OUTERS, INNERS, SHORT, pins=4096))
        listeners = {"c": Listeners(SERVERS, stack), "s": Listeners(CLIENTS, stack)}
        used: Counter[tuple[str, str]] = Counter()
        sessions = []
        for number in range(60):
            name = (*CLIENTS, *SERVERS)[number % 5]
            port = 10000 + number
            near = stack.enter_context(opened(name, port))
            other, far = listeners[name[0]].accept()
            stack.enter_context(far)
            client, server = (name, other) if name[0] == "c" else (other, name)
            ends = (_end(near.getsockname()), _end(near.getpeername()))
            assert cross.ends_of(SessionKey.of(*ends, TCP)) == (f"o{client[1]}", f"i{server[1]}")
            used[client, server] += 1
            sessions.append((near, far))
        assert len(used) == len(CLIENTS) * len(SERVERS), "every pair of replicas had sessions"
        for near, far in sessions:
            for sender, receiver in ((near, far), (far, near)):
                sender.sendall(b"hello")
                assert receiver.recv(5) == b"hello"
        loads = cross.walk()
        assert sum(load.live for load in loads.values()) == len(sessions)
        assert min(load.live for load in loads.values()) > 5
        assert cross.counters()["affinity_mismatch"] == 0


def _end(address: tuple[str, int]) -> End:
    return End(ip_address(address[0]), address[1])


@isolated
def test_bad_sides_are_refused_and_interfaces_are_given_back() -> None:
    wire_up()
    for outers, inners, text in (
        ((), INNERS, "0 interfaces on the outer side: use 1..64"),
        (OUTERS, ("i0", "i0"), "interface 'i0' is named twice"),
        (OUTERS, ("o0",), "interface 'o0' is named twice"),
        (OUTERS, ("i9",), "no interface 'i9'"),
    ):
        with pytest.raises(InvalidValue, match=text):
            CrossConnection(outers, inners, SHORT, pins=1024)
    before = _flags("o0")
    with CrossConnection(OUTERS, INNERS, SHORT, pins=1024):
        assert _flags("o0") != before, "promiscuous"
        with pytest.raises(Conflict, match="o0"):
            CrossConnection(OUTERS, INNERS, SHORT, pins=1024)
    assert _flags("o0") == before
    with CrossConnection(OUTERS, INNERS, SHORT, pins=1024):
        ip("link", "delete", "o1")
    assert _flags("o0") == before, "though another one is gone"


def _flags(name: str) -> str:
    """What `ip` says of it, but for its counters."""
    show = ["ip", "-details", "link", "show", name]
    return subprocess.run(show, check=True, capture_output=True, text=True).stdout
