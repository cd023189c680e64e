"""A test hook: die at a named crash point.

There is a crash point after every store write ("store write: NAME is active") and after every call to
another service ("call to l1: add pair NAME"). With the environment variable CATENARY_CRASH_AT set to one of
these texts the process kills itself (SIGKILL) the first time that it passes it; a test does so for each of
them and then expects a restarted process to finish the work. Named, not counted: how often a cool-down is
polled depends on the machine. With " +N" behind the text it dies N crash points later, so that all that
follow one of them can be had without knowing their names. Without the variable nothing happens.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping

from catenary.errors import InvalidValue

VARIABLE = "CATENARY_CRASH_AT"
PREFIXES = ("store write: ", "call to ")
CrashPoint = Callable[[str], None]


def never(what: str) -> None:
    """The crash point of a process that is to live."""


def from_environment(environment: Mapping[str, str]) -> CrashPoint:
    """`never`, or what the variable asks for; raises `InvalidValue` unless that names a crash point."""
    text = environment.get(VARIABLE)
    if text is None:
        return never
    if not text.startswith(PREFIXES):
        raise InvalidValue(
            f"{VARIABLE}={text!r} is not valid: use the text of a crash point, "
            'like "store write: NAME is active", or unset it'
        )
    at, plus, later = text.rpartition(" +")
    return _killer(at, int(later)) if plus and later.isdecimal() else _killer(text, 0)


def _killer(at: str, later: int) -> CrashPoint:
    """Dies at the crash point that comes `later` ones after the first with the name `at`."""
    lock = threading.Lock()  # the engine and requests pass crash points, each in a thread of its own
    left: int | None = None

    def crash_point(what: str) -> None:
        nonlocal left
        with lock:
            left = left - 1 if left is not None else later if what == at else None
            if left == 0:
                print(f"crash point: {what}", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    return crash_point
