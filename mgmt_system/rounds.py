"""Something that is done again and again, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger("mgmt_system")
AFTER_FAILURE = 0.25
"""s until the next round after one that failed."""


class Rounds:
    """`once` does one round and tells in how many s from its beginning the next is due.

    One that fails is told to the log as `failure`: the next one may do better. It may be started and stopped
    more than once; `stop` waits for the round that is under way.
    """

    def __init__(self, name: str, once: Callable[[], float], failure: str) -> None:
        self._name, self._once, self._failure = name, once, failure
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                pause = self._once()
            except Exception:
                log.exception(self._failure)
                pause = AFTER_FAILURE
            self._stop.wait(max(0.0, began + pause - time.monotonic()))
