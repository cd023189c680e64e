"""The process of an intrusion detection system: its folder, its start and its end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from catenary.errors import Unavailable, Unsupported
from topologies.hosts import Host
from topologies.services import ServiceEnded, wait_until

_ELSEWHERE = "/usr/sbin:/usr/local/bin:/usr/local/snort/bin:/opt/snort/bin:/usr/local/zeek/bin:/opt/zeek/bin"


def find(tool: str, fix: str) -> str:
    """The path of `tool`. Raises `Unsupported` that names it and the `fix` where it is not installed."""
    found = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{_ELSEWHERE}")
    if found is None:
        raise Unsupported(f"{tool} is not installed: {fix}")
    return found


class Detector:
    """One process of `tool` on `host`. `folder` holds its configuration and its logs, and is its own."""

    def __init__(self, host: Host, tool: str) -> None:
        self.host = host
        self._name = f"{host.name}-{tool}"
        self.folder = host.logs / self._name
        self._process: subprocess.Popen[str] | None = None

    def prepare(self) -> None:
        """An empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def start(self, argv: Sequence[str], ready: Callable[[str], bool]) -> None:
        """Run it in its folder until what it has said is `ready`; raises `Unavailable` when it ends first."""
        said = self.folder / "said.log"
        process = self.host.popen(argv, log=f"{self._name}/said", cwd=self.folder)
        self._process = process

        def is_ready() -> bool:
            text = said.read_text(errors="replace")
            if process.poll() is not None:
                raise ServiceEnded(
                    f"{self._name} has ended with {process.returncode}: {text[-1000:].strip()}"
                )
            return ready(text)

        wait_until(is_ready, f"{self._name} is not ready")

    @property
    def pid(self) -> int:
        """Raises `Unavailable` where it does not run."""
        if self._process is None:
            raise Unavailable(f"{self._name} does not run")
        return self._process.pid

    def stop(self) -> None:
        """SIGKILL: what it has logged is written, and an orderly end takes it seconds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def lines(path: Path) -> Iterator[str]:
    """The whole lines of a log that is being written; none where it is not there yet."""
    if not path.exists():
        return
    with path.open() as file:
        for line in file:
            if not line.endswith("\n"):
                return
            yield line


def captures(host: Host, ports: int) -> bool:
    """Does something read the frames of so many ports of the host, for tools that don't say so themselves?"""
    return packet_sockets(host.run(["cat", "/proc/net/packet"])) >= ports


def packet_sockets(table: str) -> int:
    """The ports that running packet sockets are bound to, out of /proc/net/packet."""
    rows = (line.split() for line in table.splitlines()[1:])
    return len({row[4] for row in rows if row[4] != "0" and row[5] == "1"})
