"""What clients that run in the background have in common: one process, started once, ended for certain."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from catenary.errors import Unavailable
from topologies.hosts import Host


class Load(ABC):
    """A client's process on `host`. `name` must be unique in a testbed: it names the log."""

    def __init__(self, host: Host, name: str) -> None:
        self.name = name
        self._host = host
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @abstractmethod
    def start(self) -> None:
        """Begin; a log that an earlier one left is replaced."""

    def _started(self) -> subprocess.Popen[str]:
        """The process; raises `Unavailable` before `start`."""
        if self._process is None:
            raise Unavailable(f"load {self.name} has not been started")
        return self._process
