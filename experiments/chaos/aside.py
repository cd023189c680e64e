"""One part of an experiment beside another, in a process of its own: it gets the time that nobody wants."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from catenary.errors import CatenaryError

T = TypeVar("T")
AUTOGROUP = Path("/proc/self/autogroup")


@contextmanager
def aside(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin `work`; what is yielded waits for its result. It is ended when the block is.

    Begin before there are threads, for the process is a copy of this one.
    """
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_run, args=(work, theirs))
    process.start()
    theirs.close()

    def result() -> T:
        try:
            found: T = ours.recv()
        except EOFError:
            process.join()
            raise CatenaryError(f"the part beside it broke (exit {process.exitcode}): see above") from None
        return found

    try:
        yield result
    finally:
        process.terminate()
        process.join()


def _step_aside() -> None:
    """Run only when nobody else wants to. Linux shares processors between sessions first (sched(7),
    autogroup): in its parent's session this process would get as much as each service, which has its own."""
    os.setsid()
    with suppress(FileNotFoundError):  # a kernel without it
        AUTOGROUP.write_text("19")
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _run(work: Callable[[], T], to: Connection) -> None:
    _step_aside()
    try:
        to.send(work())
    except KeyboardInterrupt:
        os._exit(130)  # whoever interrupted it says so
