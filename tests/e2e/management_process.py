"""The management system as a process that starts at once: forked from a server that has its imports done.

It is the command itself, with the same arguments, in a process of its own that SIGKILL can end.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgmt_system.cli import app

PRELOAD = ["pytest", "tests.e2e.management_process"]


def _run(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    sys.argv = ["catenary", *arguments]
    app()


class ManagementProcess:
    """`arguments` as on the command line; output is appended to `log`."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._arguments = list(arguments)
        self._log = log
        self._process: Any = None

    def start(self, **environment: str) -> None:
        self.stop()
        self._process = self._context.Process(
            target=_run, args=(self._arguments, str(self._log), environment), daemon=True
        )
        self._process.start()

    def died(self, wait: float = 0.0) -> bool:
        """Has it ended? `wait` seconds are given to one that is about to."""
        self._process.join(wait)
        return self._process.exitcode is not None

    def stop(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
