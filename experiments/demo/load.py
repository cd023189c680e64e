"""The demo's traffic: what the paper used (httperf long and short, curl-like sessions, nginx), over IPv4 and
IPv6, and sessions that the server opens.

    h1  100 closed-loop clients fetch 100 and 500 KB: they keep every chain's NF busy
    h1  httperf at a rate: first 750 KB (long), then 20 KB (short)
    h3  curl-like short sessions, 4 KB
    h2  opens sessions to h1, 20 KB
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import ByteServer, Httperf, Transfers, WebServer

_HTTPERF_RATES = (("750k", 1.0), ("20k", 4.0))
"""Files, and sessions begun a second: under a fifth of what one NF carries, so that no backlog grows."""
_RECEIVE_BUFFER = 20_000
"""Bytes: what all of h1's sessions have under way at once then fits into the queue of one NF (1.1 MB). Else
so many of them wait for retransmissions, while there is one chain, that they can't fill it later."""


@dataclass(frozen=True)
class LoadResult:
    """Totals of all clients: `failed` were not answered in full, `cut` were open when the demo ended them."""

    sessions: int
    failed: int
    cut: int
    reasons: tuple[str, ...]


class Load:
    """All clients and servers, from entering the context until `finish`.

    httperf is given `seconds` for its two parts. `parallel` sessions at a time keep the NFs busy, and `short`
    ones begin often on either side; what is not answered in `timeout` s (half of it if short) has failed.
    """

    def __init__(
        self,
        testbed: Testbed,
        seconds: float,
        *,
        parallel: int = 100,
        short: int = 10,
        timeout: float = 60.0,
    ) -> None:
        h1, h2, h3 = (testbed.hosts[name] for name in ("h1", "h2", "h3"))
        self._client = h1
        web, back = WebServer(h2), ByteServer(h1)
        sizes = ("100k", "100k", "500k")
        self._servers = (web, back)
        self._loops = (
            Transfers(
                h1,
                [web.url(size, family) for size in sizes for family in (4, 6)],
                name="bulk",
                parallel=parallel,
                timeout=timeout,
            ),
            Transfers(
                h3,
                [web.url("4k", 4), web.url("4k", 6)],
                name="short",
                parallel=short,
                pause=0.1,
                timeout=timeout / 2,
            ),
            Transfers(
                h2,
                [back.url("20000", 4), back.url("20000", 6)],
                name="server-opened",
                parallel=short,
                pause=0.1,
                timeout=timeout / 2,
            ),
        )
        self._waiting = [
            Httperf(
                h1,
                h2.address(),
                path,
                name=f"httperf-{path}",
                rate=rate,
                connections=int(rate * seconds / len(_HTTPERF_RATES)),
                timeout=timeout,
                background=True,
            )
            for path, rate in _HTTPERF_RATES
        ]
        self._httperfs: list[Httperf] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        window = f"4096 {_RECEIVE_BUFFER} {_RECEIVE_BUFFER}"
        self._client.run(["sysctl", "-qw", f"net.ipv4.tcp_rmem={window}"])
        with self._stack as undo:
            for server in self._servers:
                undo.enter_context(server)
            for loop in self._loops:
                undo.enter_context(loop)
            self._stack = undo.pop_all()
        self.next_httperf()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def next_httperf(self) -> None:
        """Start the long transfers, at the next call the short ones: both at once would take both cores."""
        httperf = self._waiting.pop(0)
        self._stack.enter_context(httperf)
        self._httperfs.append(httperf)

    def failures(self) -> int:
        """Requests of the closed loops that failed until now (httperf tells only at its end)."""
        progress = (loop.progress() for loop in self._loops)
        return sum(result.failures for result in progress if result is not None)

    def finish(self) -> LoadResult:
        """Begin no more sessions, let the open ones end."""
        results = [loop.stop(grace=PATIENCE_S) for loop in self._loops]
        ended = [httperf.wait(timeout=2 * PATIENCE_S) for httperf in self._httperfs]
        reasons = [
            f"{loop.name}: {count} {kind}"
            for loop, result in zip(self._loops, results, strict=True)
            for kind, count in result.errors.items()
        ]
        reasons += [
            f"{httperf.name}: {reason}"
            for httperf, result in zip(self._httperfs, ended, strict=True)
            for reason in result.reasons
        ]
        return LoadResult(
            sessions=sum(result.sessions for result in results) + sum(r.connections for r in ended),
            failed=sum(result.failures for result in results) + sum(r.failures for r in ended),
            cut=sum(result.cut for result in results),
            reasons=tuple(reasons),
        )
