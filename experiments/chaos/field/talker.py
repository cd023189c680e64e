"""Long-lived sessions at one host, and a server that echoes: a program on the standard library only.

    talker.py '{"port": 7000, "tcp": 0.25, "udp": 0.05, "resting": 0.8}'

It reads commands, one JSON object a line, and answers each with one line:

    {"do": "open", "crowd": C, "within": S, KIND: [ADDRESS, ...], ...}   -> {"live": N}
    {"do": "prove", "crowd": C, "within": S}   does each echo what it sends from now on? -> {"live", "cut"}
    {"do": "close", "crowd": C, "grace": S}    -> {"sent", "lost"}: datagrams of the crowd's UDP sessions
    {"do": "flood", "to": ADDRESS, "count": N, "rate": R}   a UDP session of one datagram each -> {"sent"}

A session sends a number again and again, after as many seconds as the options say for its kind, and the other
end sends it back. `tcp` is the one kind that is not UDP.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

_LOOK_S = 0.01


class Session(Protocol):
    """`sent` numbers so far, the highest number that came back, and why it ended (empty: it lives)."""

    name: str
    kind: str
    sent: int
    echoed: int
    ended: str

    def send(self) -> None: ...
    def close(self) -> None: ...


class Stream(asyncio.Protocol):
    """A TCP session's own end."""

    kind = "tcp"

    def __init__(self) -> None:
        self.name = ""
        self.sent = self.echoed = 0
        self.ended = ""
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.name = "tcp port {1}".format(*transport.get_extra_info("sockname"))

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        if whole:
            self.echoed = int(whole[-1])

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = self.ended or f"{exc or 'closed by its peer'}"

    def send(self) -> None:
        if self._transport is not None and not self.ended:
            self.sent += 1
            self._transport.write(b"%d\n" % self.sent)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Datagrams(asyncio.DatagramProtocol):
    """A UDP session's own end; `back` are the numbers that came back."""

    def __init__(self, kind: str) -> None:
        self.name = ""
        self.kind = kind
        self.sent = self.echoed = 0
        self.ended = ""
        self.back: set[int] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.name = "{} port {}".format(self.kind, transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.back.add(int(data))
        self.echoed = max(self.echoed, int(data))

    def error_received(self, exc: Exception) -> None:
        """An ICMP error ends no session: what is lost is counted."""

    def send(self) -> None:
        if self._transport is not None:
            self.sent += 1
            self._transport.sendto(b"%d" % self.sent)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class EchoStream(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)


class Talker:
    """All sessions of this host, by crowd."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._crowds: dict[str, list[Session]] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    async def serve(self) -> None:
        """Echo, and do what comes in on standard input until that ends."""
        loop, port = asyncio.get_running_loop(), self._options["port"]
        await loop.create_server(EchoStream, ["0.0.0.0", "::"], port, backlog=256)
        for address in ("0.0.0.0", "::"):
            await loop.create_datagram_endpoint(EchoDatagrams, sock=_bound(address, port))
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _say({"ready": True})
        while line := await reader.readline():
            command = json.loads(line)
            _say(await getattr(self, command.pop("do"))(**command))

    async def open(self, crowd: str, within: float, **addresses: list[str]) -> dict[str, Any]:
        loop, port = asyncio.get_running_loop(), self._options["port"]
        sessions: list[Session] = []

        async def connect(address: str) -> None:
            with suppress(OSError, TimeoutError):
                _, stream = await asyncio.wait_for(loop.create_connection(Stream, address, port), within)
                sessions.append(stream)

        await asyncio.gather(*map(connect, addresses.pop("tcp", [])))
        for kind, places in addresses.items():
            for address in places:
                _, datagrams = await loop.create_datagram_endpoint(
                    partial(Datagrams, kind), remote_addr=(address, port)
                )
                sessions.append(datagrams)
        self._crowds[crowd] = sessions
        self._tasks[crowd] = [asyncio.create_task(self._talk(session)) for session in sessions]
        return await self.prove(crowd, within)

    async def prove(self, crowd: str, within: float) -> dict[str, Any]:
        marks = [(session, session.sent) for session in self._crowds[crowd]]
        deadline = asyncio.get_running_loop().time() + within
        waiting = marks
        while waiting and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
            waiting = [
                (session, sent) for session, sent in waiting if session.echoed <= sent and not session.ended
            ]
        cut = [s for s, sent in marks if s.ended or s.echoed <= sent]
        texts = [f"{s.name}: {s.ended or f'silent, {s.sent} sent, {s.echoed} came back'}" for s in cut]
        return {"live": len(marks) - len(cut), "cut": texts}

    async def close(self, crowd: str, grace: float) -> dict[str, Any]:
        """UDP sends no more, and waits for what is still on its way until `grace` s bring nothing of it.

        They are counted in looks: while the machine stalls, nothing could have come.
        """
        for task in self._tasks.pop(crowd):
            task.cancel()
        sessions = self._crowds.pop(crowd)
        udp = [session for session in sessions if isinstance(session, Datagrams)]
        looks, came = 0, -1
        while looks * _LOOK_S < grace and any(len(s.back) < s.sent for s in udp):
            before, came = came, sum(len(s.back) for s in udp)
            looks = looks + 1 if came == before else 0
            await asyncio.sleep(_LOOK_S)
        for session in sessions:
            session.close()
        return {"sent": sum(s.sent for s in udp), "lost": sum(s.sent - len(s.back) for s in udp)}

    async def flood(self, to: str, count: int, rate: float) -> dict[str, Any]:
        begun = asyncio.get_running_loop().time()
        for number in range(count):
            with socket.socket(_family(to), socket.SOCK_DGRAM) as one, suppress(OSError):
                one.sendto(b"0", (to, self._options["port"]))
            ahead = begun + number / rate - asyncio.get_running_loop().time()
            if ahead > 0.01:
                await asyncio.sleep(ahead)
        return {"sent": count}

    async def _talk(self, session: Session) -> None:
        period = self._options[session.kind]
        await asyncio.sleep(random.random() * period)
        while not session.ended:
            session.send()
            await asyncio.sleep(period)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _bound(address: str, port: int) -> socket.socket:
    """A UDP socket of one family only, so that IPv4 and IPv6 each have their own."""
    made = socket.socket(_family(address), socket.SOCK_DGRAM)
    if made.family is socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.bind((address, port))
    return made


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(Talker(json.loads(sys.argv[1])).serve())
