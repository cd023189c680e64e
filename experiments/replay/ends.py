"""The two ends of a replay: raw sockets on a clients' and on a servers' host, which stand for all of them."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from experiments.replay import packets
from experiments.replay.pacing import Player
from topologies.hosts import Host, inside

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
_HEAD = 14
_AT_ONCE = 64
# A host's kernel sees nothing of the sessions: it would answer those of its own addresses by RSTs. Packet
# sockets come before this hook.
_SILENCE = """\
nft add table netdev replay
nft add chain netdev replay ingress '{{ type filter hook ingress device {port} priority 0 ; policy drop ; }}'
"""


@dataclass(frozen=True)
class Seat:
    """Where an end sits: a host, its interface and the MAC address of that."""

    host: Host
    interface: str
    mac: str


class _End:
    """One end: `send` gives a packet to the other end's MAC; `received` are packets that have come."""

    def __init__(self, seat: Seat, other: Seat) -> None:
        self._heads = {
            kind: bytes.fromhex((other.mac + seat.mac).replace(":", "")) + struct.pack("!H", kind)
            for kind in (packets.IPV4, packets.IPV6)
        }
        with inside(seat.host):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self.socket.setblocking(False)
        self.socket.bind((seat.interface, _ETH_P_ALL))

    def send(self, data: bytes) -> None:
        kind = packets.ethertype(data)
        assert kind is not None
        self.socket.send(self._heads[kind] + data)

    def received(self) -> Iterator[bytes]:
        """Some of the IP packets that wait, without what the frame was filled up with."""
        for _ in range(_AT_ONCE):
            try:
                frame, (_, _, kind, *_) = self.socket.recvfrom(1 << 16)
            except BlockingIOError:
                return
            data = frame[_HEAD:]
            # Not what the other host's kernel sends to all, such as router solicitations.
            if kind == socket.PACKET_HOST and packets.ethertype(data) is not None:
                yield data[: packets.length(data) or None]

    def missed(self) -> int:
        """Frames that found the socket's buffer full."""
        return int(struct.unpack("II", self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1])


def replay(player: Player, clients: Seat, servers: Seat) -> int:
    """Play to the end; returns how many frames the sockets missed, for which the player waited in vain."""
    with ExitStack() as stack:
        ends = []
        for seat, other in ((clients, servers), (servers, clients)):
            stack.enter_context(_silenced(seat))
            end = _End(seat, other)
            stack.enter_context(end.socket)
            ends.append(end)
        client, server = ends
        while not player.over:
            now = time.monotonic()
            player.expire(now)
            for step in player.send(now):
                (client if step.from_client else server).send(step.data)
            wake = player.wake()
            rest = max(wake - time.monotonic(), 0.0) if wake is not None else 0.0
            select.select([client.socket, server.socket], [], [], rest)
            for end, from_client in ((server, True), (client, False)):
                for data in end.received():
                    player.arrived(from_client, data)
        return client.missed() + server.missed()


@contextmanager
def _silenced(seat: Seat) -> Iterator[None]:
    seat.host.run(["sh", "-ec", _SILENCE.format(port=seat.interface)])
    try:
        yield
    finally:
        seat.host.run(["nft", "delete", "table", "netdev", "replay"])
