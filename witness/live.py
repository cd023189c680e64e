"""Records live traffic by taps, for a time or until it is told to stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic

from catenary.errors import Unsupported
from witness.places import Place
from witness.recording import Recording
from witness.taps import Limits, Taps

_TICK_S = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def record(
    places: Sequence[Place],
    limits: Limits,
    chains: Mapping[str, Sequence[str]],
    seconds: float,
    progress: Callable[[float, int], None],
) -> Recording:
    """All that passes `places` for so many seconds, or until SIGINT or SIGTERM. The taps are gone afterwards.

    `progress` is told the seconds gone by and the frames seen. Raises `Unsupported` when not root,
    `InvalidValue` for an interface that is not here.
    """
    if os.geteuid() != 0:
        raise Unsupported("taps are BPF programs in the kernel: run this as root (sudo)")
    with _stopped() as stop, Taps(places, limits) as taps:
        begun = monotonic()
        while not stop.is_set() and (gone := monotonic() - begun) < seconds:
            progress(gone, sum(total.frames for total in taps.totals().values()))
            stop.wait(min(_TICK_S, max(seconds - gone, 0)))
        return taps.snapshot(chains)


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """Set by the signals that end a recording, which have their old meaning again afterwards."""
    event = threading.Event()
    before = {number: signal.signal(number, lambda *_: event.set()) for number in _SIGNALS}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
