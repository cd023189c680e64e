"""Who may decide now: one request at a time in a segment, or one alone in all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Deciding:
    """Two requests in one segment may each want the last but one chain that takes sessions; those of other
    segments need not wait for them, and for the master that they ask meanwhile.

    A request holds one segment, or is alone; then it takes `adding`, if at all, and last `accepting`. So none
    waits for another in a circle. For threads.
    """

    def __init__(self) -> None:
        self.adding = threading.Lock()
        """Names, tags and NFs are those of all segments: what is chosen for one chain no other may get while
        the controller is asked for a path."""
        self.accepting = threading.Lock()
        """From the look at what is on record to the write; nobody is asked in between."""
        self._changed = threading.Condition()
        self._segments: set[str] = set()
        self._alone = False

    @contextmanager
    def segment(self, name: str) -> Iterator[None]:
        """Nobody else decides on this segment."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and name not in self._segments)
            self._segments.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._segments.remove(name)
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else decides on anything. Who comes later waits, so that this one's turn comes."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._alone = True
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._segments)
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    @contextmanager
    def on(self, name: str, *, alone: bool) -> Iterator[None]:
        """One of both: `alone` is for a request on condition that nothing has changed anywhere."""
        with self.alone() if alone else self.segment(name):
            yield
