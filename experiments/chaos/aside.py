"""One part of an experiment beside another, in a process of its own: it gets the time that nobody wants."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

from catenary.errors import CatenaryError

T = TypeVar("T")


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


def _run(work: Callable[[], T], to: Connection) -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        to.send(work())
    except KeyboardInterrupt:
        os._exit(130)  # whoever interrupted it says so
