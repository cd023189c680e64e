"""Long-lived TCP sessions that go on talking: they show whether what happens on their way breaks them."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.traffic.load import Load
from topologies.traffic.servers import Server

WORKER = str(Path(__file__).with_name("talk_worker.py"))


class EchoServer(Server):
    """Sends back what it gets, on `port` of `host`."""

    def start(self) -> None:
        name = f"echo-{self.host.name}-{self.port}"
        options = json.dumps({"listen": self.port})
        self._process = self.host.popen([sys.executable, WORKER, options], log=name)
        self._wait_listening(self._process, self.host.logs / f"{name}.log")


@dataclass(frozen=True)
class TalkState:
    """Of each session: the opener's end (address, port), echoes had, and what broke it (None: nothing)."""

    ends: tuple[tuple[str, int] | None, ...]
    rounds: tuple[int, ...]
    broken: tuple[str | None, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        return tuple(reason for reason in self.broken if reason is not None)


class Talks(Load):
    """`sessions` TCP sessions that `opener` opens to an echo server on `other`, IPv4 and IPv6 in turns.

    Each sends `size` bytes every `interval` s; one without an echo for `timeout` s counts as broken. `peers`
    are the servers' ends, (address, port).
    """

    def __init__(
        self,
        opener: Host,
        other: Host,
        *,
        name: str,
        sessions: int = 16,
        port: int = 7000,
        size: int = 1000,
        interval: float = 0.2,
        timeout: float = PATIENCE_S,
    ) -> None:
        super().__init__(opener, name)
        self.peers = [(other.address(6 if number % 2 else 4), port) for number in range(sessions)]
        self._server = EchoServer(other, port)
        self._log = opener.logs / f"{name}.jsonl"
        self._options = {
            "peers": self.peers,
            "size": size,
            "interval": interval,
            "timeout": timeout,
            "log": str(self._log),
        }

    def start(self) -> None:
        self._log.unlink(missing_ok=True)
        self._server.start()
        argv = [sys.executable, WORKER, json.dumps(self._options)]
        self._process = self._host.popen(argv, log=self.name)

    def __enter__(self) -> Self:
        """Returns when every session has had an echo."""
        super().__enter__()
        self.wait_rounds(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Close all sessions; may be called twice."""
        super().__exit__(None, None, None)
        self._server.stop()

    def state(self) -> TalkState | None:
        """The sessions as they are; None before the first report (a fraction of a second)."""
        lines = self._log.read_text().splitlines(keepends=True) if self._log.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if not whole:
            return None
        found = json.loads(whole[-1])
        ends = tuple(None if end is None else (end[0], end[1]) for end in found["ends"])
        return TalkState(ends, tuple(found["rounds"]), tuple(found["broken"]))

    def wait_rounds(self, more: int, timeout: float = PATIENCE_S) -> TalkState:
        """Wait until every session is broken or has had `more` echoes from now on."""
        before = self.state()
        goals = [more + rounds for rounds in before.rounds] if before else [more] * len(self.peers)

        def had() -> bool:
            now = self.state()
            return now is not None and all(
                broken or rounds >= goal
                for broken, rounds, goal in zip(now.broken, now.rounds, goals, strict=True)
            )

        wait_until(had, f"{self.name}: not every session has had {more} more echoes", timeout)
        state = self.state()
        assert state is not None
        return state

    def pause(self) -> None:
        """Say nothing more: the sessions stay open and rest."""
        self._started().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._started().send_signal(signal.SIGCONT)
