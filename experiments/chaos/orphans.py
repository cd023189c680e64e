"""What a master that lost its tables took along: sessions that it alone knew, counted apart (rule 8)."""

from __future__ import annotations

from lb_adapter.core.oracle_pin import Pin, State
from lb_adapter.core.oracle_splice import Splice


class Orphans:
    """Keys whose sessions began before a loss, and that nobody knew after it. Times are ms.

    What was answered before the loss is under way for up to `transit`, and begins a session only then.
    """

    def __init__(self, transit: int) -> None:
        self._transit = transit
        self._lost: dict[bytes, tuple[int, Pin]] = {}
        self._unpinned: list[tuple[int, frozenset[bytes]]] = []
        self._found: dict[bytes, int] = {}

    def lose(self, master: Splice, now: int) -> None:
        """The master's table is about to go. In overflow it also had sessions without a pin."""
        self._lost.update((key, (now, pin)) for key, pin in master.pins.items())
        if master.overflow:
            self._unpinned.append((now, frozenset(master.pins)))

    def find(self, slave: Splice | None, master: Splice | None) -> None:
        """The copy is complete: what the slave does not know, or knows otherwise, nobody does, and what the
        master has no room for is left out."""
        known, copied = (splice.pins if splice else {} for splice in (slave, master))
        for key, (when, pin) in self._lost.items():
            if key not in copied or not _knows(known.get(key), pin):
                self._found[key] = when
        self._lost.clear()

    def has(self, key: bytes, begun: int) -> bool:
        """Is the session of this key, whose connection began then, one of them?"""
        answered = begun - self._transit
        unpinned = any(answered <= when and key not in pins for when, pins in self._unpinned)
        return unpinned or (key in self._found and answered <= self._found[key])


def _knows(pin: Pin | None, lost: Pin) -> bool:
    """Does a slave's pin say what the lost one said? A handshake's last ACK may have got lost in between."""
    if pin is None or (pin.slot, pin.generation) != (lost.slot, lost.generation):
        return False
    return pin.state is not State.OPENING or lost.state is State.OPENING
