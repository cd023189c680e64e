"""What happens in a stage, for its timeline and the witness's recording."""

from __future__ import annotations

import threading
import time

from experiments.chaos.field.timeline import Note
from witness.events import CHANGE, FAULT
from witness.taps import Taps


class Chronicle:
    """Every change and fault, when it was seen to be in force. Any thread may tell of one."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._lock = threading.Lock()
        self.notes: list[Note] = []

    def note(self, text: str) -> None:
        """For the timeline only."""
        with self._lock:
            self.notes.append(Note(time.monotonic(), text))

    def change(self, text: str) -> None:
        """A change of the chain set: it is counted."""
        self._taps.note(CHANGE, text)
        self.note(text)

    def fault(self, text: str) -> None:
        """A fault: it is counted, and the timeline has a row of its own for it."""
        self._taps.note(FAULT, text)
