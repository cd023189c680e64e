"""Sessions of every kind from clients to the server, each known by its ends before its first packet."""

from __future__ import annotations

import random
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from catenary.errors import Unavailable
from catenary.session import KIND_NAMES, End, SessionKey, end_text
from topologies.hosts import Host, inside
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import echo

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
ICMP = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
PORTS = range(10_000, 30_000)
"""Below those that the kernel gives away."""
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_TRIES, _TRY_S = 40, 0.5


@dataclass(frozen=True)
class Kind:
    """A protocol (`tcp`, `udp`, `icmp`) over IPv4 or IPv6, and the client that speaks it."""

    protocol: str
    family: int
    client: str

    @property
    def number(self) -> int:
        return {"tcp": int(TCP), "udp": int(UDP), "icmp": int(ICMP[self.family])}[self.protocol]


def kinds(protocols: Sequence[str], families: Sequence[int] = (4, 6)) -> list[Kind]:
    return [Kind(p, family, client) for p in protocols for family in families for client in ("h1", "h3")]


def draw(rng: random.Random, among: Sequence[Kind], count: int) -> list[Kind]:
    """So many, each kind as often as any other, or once more."""
    drawn = [kind for _ in range(-(-count // len(among))) for kind in rng.sample(among, len(among))]
    return drawn[:count]


class Server:
    """What answers on h2: TCP and UDP at a port of each family; an ICMP echo is its kernel's."""

    def __init__(self, testbed: Testbed, addresses: Mapping[int, str]) -> None:
        self._undo = ExitStack()
        self.addresses = addresses
        self.tcp, self.udp = {}, {}
        with inside(testbed.hosts["h2"]):
            for family, address in addresses.items():
                tcp = socket.create_server((address, 0), family=_FAMILY[family], backlog=64)
                udp = socket.socket(_FAMILY[family], socket.SOCK_DGRAM)
                udp.bind((address, 0))
                self.tcp[family], self.udp[family] = map(self._undo.enter_context, (tcp, udp))
                tcp.settimeout(PATIENCE_S)
                udp.settimeout(_TRY_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()


class Talk(ABC):
    """One session. `seen_as` is the client's end as the server sees it, from `open` on."""

    def __init__(self, testbed: Testbed, server: Server, kind: Kind, number: int) -> None:
        self.kind = kind
        self._host: Host = testbed.hosts[kind.client]
        self.client = End(ip_address(self._host.address(kind.family)), number)
        self.server = End(ip_address(server.addresses[kind.family]), self._port(server))
        self.seen_as = self.client
        self._server = server

    @property
    def text(self) -> str:
        """As people ask for it."""
        return f"{end_text(self.client)} -> {end_text(self.server)}/{KIND_NAMES[self.kind.number]}"

    @property
    def keys(self) -> tuple[SessionKey, SessionKey]:
        """On the clients' side, and on the servers'."""
        inner, outer = (
            SessionKey.of(end, self.server, self.kind.number) for end in (self.client, self.seen_as)
        )
        return inner, outer

    def open(self) -> None:
        """With a word each way."""
        self.say()

    @abstractmethod
    def say(self) -> None:
        """A word each way."""

    def close(self) -> None:  # noqa: B027 - some have nothing to close
        """May be called twice."""

    @abstractmethod
    def _port(self, server: Server) -> int:
        """Of the server's end."""

    def _socket(self, kind: socket.SocketKind) -> socket.socket:
        with inside(self._host):
            made = socket.socket(_FAMILY[self.kind.family], kind)
            made.bind((str(self.client.address), self.client.port))
        return made

    def _cut(self) -> Unavailable:
        return Unavailable(f"session {self.text} is cut")


class TcpTalk(Talk):
    def open(self) -> None:
        self._near = self._socket(socket.SOCK_STREAM)
        self._near.settimeout(PATIENCE_S)
        self._near.connect((str(self.server.address), self.server.port))
        self._far, seen_as = self._server.tcp[self.kind.family].accept()
        self._far.settimeout(PATIENCE_S)
        self.seen_as = End(ip_address(seen_as[0]), seen_as[1])
        self.say()

    def say(self) -> None:
        for a, b in ((self._near, self._far), (self._far, self._near)):
            a.sendall(b"hello")
            if b.recv(5, socket.MSG_WAITALL) != b"hello":
                raise self._cut()

    def close(self) -> None:
        for end in ("_near", "_far"):
            if hasattr(self, end):
                getattr(self, end).close()

    def _port(self, server: Server) -> int:
        return int(server.tcp[self.kind.family].getsockname()[1])


class UdpTalk(Talk):
    def open(self) -> None:
        self._near = self._socket(socket.SOCK_DGRAM)
        self._near.settimeout(_TRY_S)
        self._near.connect((str(self.server.address), self.server.port))
        self.say()

    def say(self) -> None:
        """Datagrams may be lost, and answers to others be waiting."""
        far, word = self._server.udp[self.kind.family], self.text.encode()
        for _ in range(_TRIES):
            self._near.send(word)
            try:
                while (heard := far.recvfrom(100))[0] != word:
                    pass
                far.sendto(word, heard[1])
                self._near.recv(100)
            except TimeoutError:
                continue
            self.seen_as = End(ip_address(heard[1][0]), heard[1][1])
            return
        raise self._cut()

    def close(self) -> None:
        if hasattr(self, "_near"):
            self._near.close()

    def _port(self, server: Server) -> int:
        return int(server.udp[self.kind.family].getsockname()[1])


class IcmpTalk(Talk):
    """Echoes of one identifier."""

    def say(self) -> None:
        with inside(self._host):
            raw = echo.opened(self.kind.family)
        with raw:
            for number in range(_TRIES):
                if echo.exchange(raw, str(self.server.address), self.client.port, number, _TRY_S):
                    return
        raise self._cut()

    def _port(self, server: Server) -> int:
        return self.client.port


_TALKS: Mapping[str, type[Talk]] = {"tcp": TcpTalk, "udp": UdpTalk, "icmp": IcmpTalk}


class Caller:
    """Makes talks, with ports and identifiers that it draws; each of them once."""

    def __init__(self, testbed: Testbed, server: Server, rng: random.Random, undo: ExitStack) -> None:
        self._testbed, self._server, self._rng, self._undo = testbed, server, rng, undo
        self._numbers = iter(rng.sample(PORTS, len(PORTS)))

    def talks(self, among: Sequence[Kind], count: int) -> list[Talk]:
        """So many that are not open yet."""
        return [self._talk(kind) for kind in draw(self._rng, among, count)]

    def _talk(self, kind: Kind) -> Talk:
        made = _TALKS[kind.protocol](self._testbed, self._server, kind, next(self._numbers))
        self._undo.callback(made.close)
        return made
