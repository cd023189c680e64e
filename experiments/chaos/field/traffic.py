"""What crosses the pair: many short sessions all the time, and a crowd of long-lived ones over each fault."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from catenary.errors import Unavailable
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import ByteServer, Transfers, WebServer
from topologies.traffic.load import Load

PORT = 7000
PERIODS_S = {"tcp": 0.15, "udp": 0.05, "resting": 0.8}
"""How long each session of a kind says nothing. Resting ones: longer than a lease holds, but two of them are
less than a session's timeout."""
CLIENT_FIRST = {"tcp": 40, "udp": 5}
SERVER_FIRST = {"tcp": 14, "udp": 5}
"""Sessions of a crowd that h1 opens, and that h2 does."""
RESTING = 12
GRACE_S = 0.5
PROVE_S = 26.0
"""How long a session may take to go on after a fault: TCP doubles its wait with each retransmission."""


class Talker(Load):
    """The program `talker.py` on a host."""

    def start(self) -> None:
        options = {"port": PORT, **PERIODS_S}
        argv = [sys.executable, str(Path(__file__).with_name("talker.py")), json.dumps(options)]
        self._process = self._host.popen(argv, log=self.name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answer(PATIENCE_S)

    def ask(self, **command: Any) -> None:
        """Send a command; `answer` has its answer."""
        pipe = self._started().stdin
        assert pipe is not None, "it was opened as a pipe"
        pipe.write(json.dumps(command) + "\n")
        pipe.flush()

    def answer(self, timeout: float) -> Mapping[str, Any]:
        """The answer to the command before; raises `Unavailable` if none comes in `timeout` s."""
        pipe = self._started().stdout
        assert pipe is not None, "it was opened as a pipe"
        ready, _, _ = select.select([pipe], [], [], timeout)
        line = pipe.readline() if ready else ""
        if not line:
            raise Unavailable(
                f"{self.name} does not answer within {timeout:g} s: see {self._host.logs}/{self.name}.log"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Proof:
    """Of a crowd: sessions that live, those that the server side opened among them, and why others don't."""

    live: int
    server_first: int
    cut: tuple[str, ...]


class Traffic:
    """All servers and clients of a stage, from entering the context until its end."""

    def __init__(self, testbed: Testbed) -> None:
        h1, h2, h3 = (testbed.hosts[name] for name in ("h1", "h2", "h3"))
        web, back = WebServer(h2), ByteServer(h1)
        self._client, self._server = Talker(h1, "talker-h1"), Talker(h2, "talker-h2")
        self._hosts = (h1, h2)
        self.loads = (
            _short(h1, "short-h1", [web.url("1k", 4), web.url("1k", 6)], 6),
            _short(h3, "short-h3", [web.url("4k", 4), web.url("4k", 6)], 6),
            _short(h2, "server-first", [back.url("1000", 4), back.url("1000", 6)], 4),
        )
        self._parts = (web, back, self._client, self._server, *self.loads)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as undo:
            for part in self._parts:
                undo.enter_context(part)
            self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def failures(self) -> int:
        """Short sessions that were not answered, so far."""
        return sum(seen.failures for load in self.loads if (seen := load.progress()) is not None)

    def open(self, crowd: str) -> Proof:
        """Open a crowd, from both sides; every session of it has sent and got something."""
        h1, h2 = self._hosts
        for talker, peer, numbers in ((self._client, h2, CLIENT_FIRST), (self._server, h1, SERVER_FIRST)):
            places = {
                kind: [peer.address(4 + 2 * (n % 2)) for n in range(count)] for kind, count in numbers.items()
            }
            talker.ask(do="open", crowd=crowd, within=PATIENCE_S / 4, **places)
        return self._proof(PATIENCE_S)

    def open_resting(self, crowd: str) -> None:
        """Open a crowd of sessions that rest, all by the server side."""
        self._client.ask(do="open", crowd=crowd, within=PATIENCE_S / 4)
        places = [self._hosts[0].address(4 + 2 * (n % 2)) for n in range(RESTING)]
        self._server.ask(do="open", crowd=crowd, within=PATIENCE_S / 4, resting=places)
        self._proof(PATIENCE_S)

    def prove(self, crowd: str) -> Proof:
        """Do all of a crowd's sessions still carry what is sent from now on, both ways?"""
        for talker in (self._client, self._server):
            talker.ask(do="prove", crowd=crowd, within=PROVE_S)
        return self._proof(PROVE_S + PATIENCE_S)

    def close(self, crowd: str) -> tuple[int, int]:
        """End a crowd: (datagrams sent, those of them that did not come back)."""
        for talker in (self._client, self._server):
            talker.ask(do="close", crowd=crowd, grace=GRACE_S)
        answers = [talker.answer(PATIENCE_S) for talker in (self._client, self._server)]
        return sum(a["sent"] for a in answers), sum(a["lost"] for a in answers)

    def flood(self, count: int, rate: float) -> None:
        """`count` UDP sessions of one datagram from h1, `rate` a second, IPv4: to fill session tables."""
        self._client.ask(do="flood", to=self._hosts[1].address(), count=count, rate=rate)
        self._client.answer(count / rate + PATIENCE_S)

    def _proof(self, timeout: float) -> Proof:
        mine, theirs = (talker.answer(timeout) for talker in (self._client, self._server))
        return Proof(mine["live"] + theirs["live"], theirs["live"], (*mine["cut"], *theirs["cut"]))


def _short(host: Host, name: str, urls: list[str], parallel: int) -> Transfers:
    """Sessions that come and go: about ten a second and lane."""
    return Transfers(host, urls, name=name, parallel=parallel, pause=0.1, timeout=5.0)
