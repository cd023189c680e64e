"""Numbered datagrams in both directions through the pair, all the time: what is lost or doubled shows."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from catenary.session import End, SessionKey
from tests.netns.pair import ADDRESS, CLIENT, SERVER, inside
from topologies.services import wait_until

FLOWS = 8
PAUSE_S = 0.001
"""Between two rounds; in each one flow sends a datagram both ways."""
_LOOKS = 150
"""How often in a row nothing has come when nothing comes any more: a machine that stalls does not look."""
_BUFFER = 32 << 20
_SO_RCVBUFFORCE = 33
_NUMBER = struct.Struct("!I")


@dataclass(frozen=True)
class Tally:
    """Of the datagrams that were sent: how many never came, and how many came more than once."""

    sent: int
    lost: int
    doubled: int


class Streams:
    """`FLOWS` UDP sessions through the pair. `settle` tells what became of all since it was last asked."""

    def __init__(self) -> None:
        self._ends = [(_bound(CLIENT), _bound(SERVER)) for _ in range(FLOWS)]
        for near, far in self._ends:
            near.connect(far.getsockname())
            far.connect(near.getsockname())
        self._sockets = [end for pair in self._ends for end in pair]
        self._lock = threading.Lock()
        self._going, self._ending = threading.Event(), False
        self._sent = 0
        self._came: list[tuple[int, int]] = []
        self._threads = [threading.Thread(target=run) for run in (self._send, self._receive)]

    def keys(self) -> list[SessionKey]:
        return [key_of(near, 17) for near, _ in self._ends]

    def _send(self) -> None:
        number = 0
        while not self._ending:
            self._going.wait(0.1)
            with self._lock:
                if self._going.is_set():
                    for end in self._ends[number % FLOWS]:
                        end.send(_NUMBER.pack(number))
                        self._sent += 1
                    number += 1
            time.sleep(PAUSE_S)

    def _receive(self) -> None:
        numbered = {end.fileno(): (number, end) for number, end in enumerate(self._sockets)}
        poller = select.epoll()
        for fd in numbered:
            poller.register(fd, select.EPOLLIN)
        while not self._ending:
            for fd, _ in poller.poll(0.1):
                number, end = numbered[fd]
                self._came.append((number, *_NUMBER.unpack(end.recv(64))))
        poller.close()

    def settle(self) -> Tally:
        """Stop sending for a moment, until all that is still under way has come or is not coming."""
        self._going.clear()
        with self._lock:
            sent, self._sent = self._sent, 0
        seen, looks = -1, 0
        while len(set(self._came)) < sent and looks < _LOOKS:
            seen, looks = len(self._came), looks + 1 if len(self._came) == seen else 0
            time.sleep(0.02)
        came, self._came = self._came, []
        self._going.set()
        return Tally(sent, sent - len(set(came)), len(came) - len(set(came)))

    def run_for(self, count: int) -> None:
        """Until `count` more datagrams were sent."""
        goal = self._sent + count
        wait_until(lambda: self._sent >= goal, f"{count} datagrams")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._going.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        for thread in self._threads:
            thread.join()
        for end in self._sockets:
            end.close()


def _bound(host: str) -> socket.socket:
    with inside(host):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    end.bind((ADDRESS[host, 4], 0))
    return end


def key_of(end: socket.socket, protocol: int) -> SessionKey:
    """The session key of a connected IPv4 socket."""
    ends = [End(ip_address(host), port) for host, port in (end.getsockname(), end.getpeername())]
    return SessionKey.of(*ends, protocol)
