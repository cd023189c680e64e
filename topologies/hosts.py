"""A machine of the testbed: a network namespace in which commands run, with the caller's own mounts."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catenary.errors import Unavailable
from topologies.patience import PATIENCE_S

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Host:
    """`pid` is a process in the network namespace; `logs` the directory for the output of its commands."""

    name: str
    pid: int
    logs: Path
    ipv4: str | None = None
    ipv6: str | None = None

    def popen(
        self,
        argv: Sequence[str],
        *,
        log: str | None = None,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start a command; with `log`, its output is appended to `<logs>/<log>.log`."""
        command = [*self._enter(), *argv]
        if log is None:
            return subprocess.Popen(command, env=env, text=True, **options)
        with (self.logs / f"{log}.log").open("a") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            return subprocess.Popen(command, env=env, text=True, **{**streams, **options})

    def run(self, argv: Sequence[str], *, timeout: float = PATIENCE_S, stdin: str | None = None) -> str:
        """Run a command to its end: its output. Raises `Unavailable` with what it said when it fails."""
        done = self.attempt(argv, timeout=timeout, stdin=stdin)
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise Unavailable(f"{self.name}: {' '.join(argv)} failed with {done.returncode}: {said}")
        return done.stdout

    def attempt(
        self, argv: Sequence[str], *, timeout: float = PATIENCE_S, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its status."""
        return subprocess.run(
            [*self._enter(), *argv], input=stdin or "", capture_output=True, text=True, timeout=timeout
        )

    def listens(self, process: subprocess.Popen[str], port: int) -> bool:
        """Does that process of this host listen on the TCP port?"""
        return f"pid={process.pid}," in self.attempt(["ss", "-Hltnp", f"sport = :{port}"]).stdout

    def address(self, family: int = 4) -> str:
        """The host's IPv4 (4) or IPv6 (6) address."""
        found = self.ipv4 if family == 4 else self.ipv6
        if found is None:
            raise Unavailable(f"{self.name} has no IPv{family} address")
        return found

    def _enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """Sockets made by this thread in the block are the host's, and stay so."""
    with open("/proc/thread-self/ns/net") as here, open(f"/proc/{host.pid}/ns/net") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
