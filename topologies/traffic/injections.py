"""SQL injections in URLs, by curl as in the paper: some at once, again and again, a session each."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

from catenary.errors import Unavailable, Unsupported
from topologies.hosts import Host
from topologies.patience import PATIENCE_S

ATTACKS = (
    "1' OR '1'='1",
    "1' UNION SELECT name, password FROM users--",
    "1'; DROP TABLE accounts--",
    "-1 UNION ALL SELECT NULL, @@version",
    "1' AND SLEEP(5)--",
    "admin'--",
)
"""What stands in the query, URL-encoded: `topologies/nfs/rules` knows each of them."""
AT_ONCE = 16
"""Sessions of one curl that are open at a time."""


@dataclass(frozen=True)
class InjectionResult:
    """`sent` requests, of which so many were answered with 200; others by what curl said."""

    sent: int
    answered: int
    others: dict[str, int]


class Injections:
    """`batch` injections every `every` s from `host` to `url`, `total` in all, each with a number of its own.

    The same `seed` sends the same. As a context: it begins, and no new batch begins once it is left.
    """

    def __init__(
        self, host: Host, url: str, *, name: str, batch: int, every: float, total: int, seed: int
    ) -> None:
        self._host = host
        self._url = url
        self._name = name
        self._batch = batch
        self._every = every
        self._total = total
        self._choose = random.Random(seed)
        self._sent = 0
        self._codes: Counter[str] = Counter()
        self._running: list[subprocess.Popen[str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        if shutil.which("curl") is None:
            raise Unsupported("curl is not installed: apt-get install curl")
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for curl in self._running:
            if curl.poll() is None:
                curl.kill()
            curl.communicate()

    def finish(self, timeout: float = PATIENCE_S) -> InjectionResult:
        """Begin no more, wait for what is under way: what came of all."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + timeout
        for curl in self._running:
            try:
                told, _ = curl.communicate(timeout=max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired as error:
                raise Unavailable(f"{self._name}: injections have no answer after {timeout:g} s") from error
            self._codes.update(told.split())
        self._running = []
        answered = self._codes["200"]
        others = {code: count for code, count in self._codes.items() if code != "200"}
        return InjectionResult(self._sent, answered, others)

    def _run(self) -> None:
        number = 0
        while self._sent < self._total:
            wait = self._begun + number * self._every - time.monotonic()
            if self._stop.wait(max(wait, 0)):
                return
            self._begin(min(self._batch, self._total - self._sent))
            number += 1

    def _begin(self, count: int) -> None:
        """One curl for all of them: a process each would be the load. The server closes after each answer."""
        lines = []
        for _ in range(count):
            self._sent += 1
            attack = quote(self._choose.choice(ATTACKS), safe="")
            lines += [f'url = "{self._url}?id={attack}&n={self._sent}"', 'output = "/dev/null"']
        options = ["--silent", "--parallel", "--parallel-max", str(AT_ONCE), "--max-time", f"{PATIENCE_S:g}"]
        curl = self._host.popen(
            ["curl", *options, "--write-out", "%{http_code}\\n", "--config", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert curl.stdin is not None
        curl.stdin.write("\n".join(lines) + "\n")
        curl.stdin.close()
        curl.stdin = None  # so that `communicate` does not want to write any more
        self._running.append(curl)
