"""A provisioner that is the operator's own program: `PROGRAM ARGUMENTS start|stop SEGMENT NF...`.

It lies in a folder that whoever starts the management system has named, so that no document, wherever it
comes from, can have another program run. It gets no shell, no input, no environment but what is configured,
and a process group of its own. It has done well if it ends with status 0 in time. What it starts must not
keep its output open: what is written there later would meet a pipe that nobody reads.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from catenary.autoscale import ProvisionerConfig
from catenary.errors import CatenaryError, InvalidValue, Unavailable
from mgmt_system.provisioning import Cancelled

KEPT = 2000
"""Bytes at the end of what a program says that are kept."""
SHOWN = 300
"""Characters of them that are told."""
_LOOK = 0.1
"""Seconds between looks at whether anybody still waits."""
_CLOSING = 1.0
"""Seconds in which all that was started must have closed the output after the program's end."""
_LEAVE = 1.0
"""Seconds that a program has between SIGTERM and SIGKILL."""


class CommandHook:
    def __init__(self, segment: str, config: ProvisionerConfig, hooks: Path | None) -> None:
        self._segment = segment
        self._config = config
        self._hooks = hooks

    def start(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        self._run("start", nfs, cancelled)

    def stop(self, nfs: Sequence[str], cancelled: Cancelled) -> None:
        self._run("stop", nfs, cancelled)

    def _run(self, action: str, nfs: Sequence[str], cancelled: Cancelled) -> None:
        name, *arguments = self._config.command
        argv = [str(program(name, self._hooks)), *arguments, action, self._segment, *nfs]
        what = f"{name} {action} {self._segment} {' '.join(nfs)}"
        run(argv, what, self._config.environment, self._config.timeout, cancelled)


def program(name: str, hooks: Path | None) -> Path:
    """The file of this name; raises `InvalidValue` unless it is a program that nobody else can change."""
    if hooks is None:
        raise InvalidValue(
            f"program {name} can't be run: start the management system with --hooks FOLDER, where it lies"
        )
    file = hooks / name
    try:
        found, folder = file.stat(), hooks.stat()
    except OSError as error:
        raise InvalidValue(f"program {file} can't be run: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) or not os.access(file, os.X_OK):
        raise InvalidValue(f"program {file} can't be run: make it an executable file (chmod 755)")
    for path, status in ((file, found), (hooks, folder)):
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
            raise InvalidValue(
                f"program {file} is not run: others than its owner may change {path}; have it belong to "
                "root, and chmod go-w"
            )
    return file


def run(
    argv: Sequence[str], what: str, environment: dict[str, str], timeout: float, cancelled: Cancelled
) -> None:
    """Run a program to its end; raises `Unavailable` with the end of what it said unless it did well."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Unavailable(f"{what} can't be run: {error}") from error
    said = _Said(process)
    try:
        ended = said.follow(time.monotonic() + timeout, cancelled)
        if not ended:
            why = "was stopped: nobody waits for it" if cancelled() else f"was not done after {timeout:g} s"
            raise Unavailable(f"{what} {why}{said.text}")
        if process.returncode:
            raise Unavailable(f"{what} {_status(process.returncode)}{said.text}")
        if not said.closed:
            raise Unavailable(
                f"{what} left something that keeps its output open: redirect that (>/dev/null 2>&1)"
                f"{said.text}"
            )
    except CatenaryError:
        _end(process)
        raise
    finally:
        said.close()


def _status(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


class _Said:
    """A process, and the end of what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process, self._out = process, process.stdout
        self._ended = os.pidfd_open(process.pid)
        self._kept = b""
        self.closed = False
        os.set_blocking(self._out.fileno(), False)

    def follow(self, deadline: float, cancelled: Cancelled) -> bool:
        """Until the process ended and its output is closed, or for a moment after its end; False if it did
        not end in time."""
        until = deadline
        while not (self.closed and self._process.returncode is not None):
            left = until - time.monotonic()
            if left <= 0 or cancelled():
                break
            watched = [] if self.closed else [self._out.fileno()]
            watched += [self._ended] if self._process.returncode is None else []
            ready = _readable(watched, min(left, _LOOK))
            if self._ended in ready and self._process.poll() is not None:
                until = time.monotonic() + _CLOSING
            if self._out.fileno() in ready:
                self._read()
        return self._process.returncode is not None

    def _read(self) -> None:
        with suppress(BlockingIOError):
            piece = os.read(self._out.fileno(), 65536)
            self.closed = not piece
            self._kept = (self._kept + piece)[-KEPT:]

    @property
    def text(self) -> str:
        """Fit for logs, behind a colon."""
        text = self._kept.decode(errors="replace").replace("\n", " ").strip()
        plain = "".join(letter if letter.isprintable() else "?" for letter in text)
        return f": {plain[-SHOWN:]}" if plain else ""

    def close(self) -> None:
        self._out.close()
        os.close(self._ended)


def _readable(files: Sequence[int], seconds: float) -> set[int]:
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return {file for file, _ in poll.poll(seconds * 1000)}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the program and all of its group end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LEAVE)
