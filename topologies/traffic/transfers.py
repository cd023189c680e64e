"""Closed-loop HTTP load: N sessions at a time, each one request on a TCP connection of its own.

The client itself (`topologies.traffic.worker`) is a process on the host; it appends one JSON line of running
totals to its log every 0.2 s, which `progress` and `stop` read.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from catenary.errors import Unavailable
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.traffic.load import Load

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class TransferResult:
    """Totals since the start. `requests` were answered in full; `failures` were not, by kind in `errors`.

    `open` sessions are under way; `cut` ones were when the client was told to end, which is no failure.
    `per_second` are the body bytes that arrived in each second since `started` (seconds since the epoch).
    """

    started: float
    ended: float
    sessions: int
    requests: int
    failures: int
    bytes: int
    open: int
    cut: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    per_second: tuple[int, ...] = ()

    @property
    def throughput(self) -> float:
        """Mean body bytes a second."""
        return self.bytes / max(self.ended - self.started, 1e-9)

    @classmethod
    def parse(cls, line: str) -> TransferResult:
        """From one line of the worker's log."""
        values = json.loads(line)
        return cls(**{**values, "per_second": tuple(values["per_second"])})


class Transfers(Load):
    """Closed loop of `parallel` sessions on `host`: each fetches the next of `urls`, then pauses `pause` s.

    A session is open for `wait` s before it asks.
    URLs are `http://ADDRESS[:PORT]/PATH`, IPv6 addresses in brackets; `timeout` (s) bounds a whole request.
    `sessions` > 0 ends the load after so many.
    """

    def __init__(
        self,
        host: Host,
        urls: str | list[str],
        *,
        name: str,
        parallel: int = 8,
        wait: float = 0.0,
        pause: float = 0.0,
        timeout: float = 30.0,
        sessions: int = 0,
    ) -> None:
        super().__init__(host, name)
        self._options = {
            "urls": [urls] if isinstance(urls, str) else urls,
            "parallel": parallel,
            "wait": wait,
            "pause": pause,
            "timeout": timeout,
            "sessions": sessions,
        }

    @property
    def log(self) -> Path:
        return self._host.logs / f"{self.name}.jsonl"

    def start(self) -> None:
        worker = str(Path(__file__).with_name("worker.py"))
        options = json.dumps({**self._options, "log": str(self.log)})
        self.log.unlink(missing_ok=True)
        self._process = self._host.popen([sys.executable, worker, options], log=self.name)

    def progress(self) -> TransferResult | None:
        """The totals so far; None before the first line (a fraction of a second)."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        return TransferResult.parse(whole[-1]) if whole else None

    def wait(self, timeout: float) -> TransferResult:
        """Wait for the end of a load with a number of `sessions`."""
        if self._started().wait(timeout) != 0:
            raise Unavailable(f"load {self.name} failed: see {self._host.logs / self.name}.log")
        result = self.progress()
        if result is None:
            raise Unavailable(f"load {self.name} left no result in {self.log}")
        return result

    def stop(self, grace: float = PATIENCE_S) -> TransferResult:
        """Begin no more sessions, let the open ones end for up to `grace` s, cut the rest: the totals."""
        process = self._started()
        self._wait_begun(process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)  # the second one cuts what is still open
        return self.wait(timeout=PATIENCE_S)

    def _wait_begun(self, process: subprocess.Popen[str]) -> None:
        """Before, a signal would kill it: where much else runs, that takes longer than some loads last."""
        wait_until(
            lambda: self.progress() is not None or process.poll() is not None,
            f"load {self.name} has not begun",
            PATIENCE_S,
        )
