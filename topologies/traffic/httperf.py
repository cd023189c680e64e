"""httperf: open-loop HTTP load at a rate, as the paper used it.

`--hog` stays off: with it, every run starts at the same local ports, so that new sessions hit old pins. While
the rate is over the capacity, the backlog must stay well under `timeout`, or sessions fail by themselves.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from dataclasses import dataclass

from catenary.errors import InvalidValue, Unavailable, Unsupported
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.traffic.load import Load

_BACKGROUND = 10
_FLOAT = r"([0-9]+(?:\.[0-9]+)?)"
_PATTERNS = {
    "connections": rf"Total: connections {_FLOAT} ",
    "requests": rf"Total: .*requests {_FLOAT} ",
    "replies": rf"Total: .*replies {_FLOAT} ",
    "duration": rf"Total: .*test-duration {_FLOAT} s",
    "median_ms": rf"Connection time \[ms\]: .*median {_FLOAT} ",
    "kilobytes": rf"Net I/O: {_FLOAT} KB/s",
    "ok": rf"Reply status: .*2xx={_FLOAT}",
}
_OWN_LIMITS = ("client-timo", "fd-unavail", "addrunavail", "ftab-full")
"""Errors that tell of the client, and not of what is between it and the server."""
_ERRORS = re.compile(r"^Errors: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class HttperfResult:
    """What httperf printed. `duration` s, `throughput` bytes/s both ways, `median_ms` of a whole connection.

    `errors` by httperf's own names, `total` included; `failures` also counts replies other than 2xx.
    """

    connections: int
    requests: int
    replies: int
    ok: int
    duration: float
    throughput: float
    median_ms: float
    errors: dict[str, int]

    @property
    def failures(self) -> int:
        return self.errors["total"] + self.replies - self.ok

    @property
    def reasons(self) -> list[str]:
        """Its errors, each kind with its count."""
        return [f"{count} {kind}" for kind, count in self.errors.items() if count and kind != "total"]

    @property
    def cut(self) -> int:
        """Failures that are not the client's own: it had sockets, and the patience to wait."""
        return self.failures - sum(self.errors.get(kind, 0) for kind in _OWN_LIMITS)

    @classmethod
    def parse(cls, text: str) -> HttperfResult:
        """From httperf's output; raises `InvalidValue` that names what is missing in it."""
        values = {}
        for name, pattern in _PATTERNS.items():
            found = re.search(pattern, text)
            if found is None:
                raise InvalidValue(f"httperf's output has no {name}: {text.strip()[-200:]!r}")
            values[name] = float(found[1])
        words = " ".join(_ERRORS.findall(text)).split()
        errors = {key: int(count) for key, count in zip(words[::2], words[1::2], strict=True)}
        if "total" not in errors:
            raise InvalidValue(f"httperf's output has no error counts: {text.strip()[-200:]!r}")
        return cls(
            connections=int(values["connections"]),
            requests=int(values["requests"]),
            replies=int(values["replies"]),
            ok=int(values["ok"]),
            duration=values["duration"],
            throughput=values["kilobytes"] * 1024,
            median_ms=values["median_ms"],
            errors=errors,
        )


class Httperf(Load):
    """`connections` sessions, `rate` begun a second, one request each, for `path` of the server `address`.

    IPv4 only (httperf knows nothing else). In the `background` it yields to all else: it polls without a
    pause, on a whole core.
    """

    def __init__(
        self,
        host: Host,
        address: str,
        path: str,
        *,
        name: str,
        rate: float,
        connections: int,
        port: int = 80,
        timeout: float = 30.0,
        background: bool = False,
    ) -> None:
        super().__init__(host, name)
        self._log = host.logs / f"{name}.log"
        self._argv = ["nice", "-n", str(_BACKGROUND)] if background else []
        self._argv += ["httperf", "--client=0/1", f"--server={address}", f"--port={port}"]
        self._argv += [f"--uri=/{path.lstrip('/')}", f"--rate={rate:g}", f"--num-conns={connections}"]
        self._argv += ["--num-calls=1", f"--timeout={timeout:g}"]

    def start(self) -> None:
        if shutil.which("httperf") is None:
            raise Unsupported("httperf is not installed: apt-get install httperf")
        self._log.unlink(missing_ok=True)
        self._process = self._host.popen(self._argv, log=self.name)

    def stop(self) -> HttperfResult:
        """End it now: the result until then. Sessions that are open are neither replies nor errors."""
        process = self._started()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        return self.wait(PATIENCE_S)

    def wait(self, timeout: float) -> HttperfResult:
        """Wait for the end: the result. Raises `Unavailable` when it takes longer than `timeout` s."""
        try:
            status = self._started().wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"httperf {self.name} has not ended after {timeout:g} s") from error
        text = self._log.read_text()
        if status != 0:
            raise Unavailable(f"httperf {self.name} failed with {status}: {text.strip()[-500:]}")
        return HttperfResult.parse(text)
