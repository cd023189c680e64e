"""Pins between load balancers: a slave's for its master, both ways where chains rewrite, and to a standby.

What is sent and what becomes of it is decided in `records` and `feed`; here are data planes and peers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
import structlog

from catenary import wire
from lb_adapter import feed as _feed
from lb_adapter import records, talk
from lb_adapter.dataplane.base import DataPlane
from lb_adapter.records import PinRecords

log = structlog.get_logger("lb_adapter")
PACE, SHARE, BEAT = 0.05, 0.25, 0.05
"""s between the beginnings of two rounds at least; the share of the time that they take; s between signs of
life."""


class Pinned(Protocol):
    """A peer that has pins."""

    def pins(self, since_ms: int | None) -> Iterator[bytes]: ...
    def put_pins(self, master_id: str, stream: Iterator[bytes]) -> None: ...


def insert(plane: DataPlane, lock: threading.RLock, pins: PinRecords) -> int:
    """Write them in parts, so that others get their turn; how many found room."""
    written = 0
    for first in range(0, len(pins), records.FRAME):
        with lock:
            written += plane.insert(pins[first : first + records.FRAME])
    if written < len(pins):
        log.error("sessions left out", sessions=len(pins) - written, capacity=plane.capacity)
    return written


def exported(plane: DataPlane) -> PinRecords:
    """All pins of a table."""
    return np.concatenate([records.none(), *plane.export(None)])


def copy(
    plane: DataPlane,
    lock: threading.RLock,
    peer: Pinned,
    since_ms: int | None,
    generations: Mapping[int, int],
) -> tuple[talk.Copied, int]:
    """Take the slave's pins over, and how many found no room. Nothing before all has come and is whole."""
    begun = plane.now_ms()
    copied = records.read(peer.pins(since_ms), protocol=wire.PROTOCOL)
    pins = records.taken_over(copied.records, generations, plane.now_ms())
    written = insert(plane, lock, pins)
    seconds = round((plane.now_ms() - begun) / 1000, 3)
    log.info("session table copied", sessions=written, since_ms=since_ms, seconds=seconds)
    return talk.Copied(since_ms, copied.now_ms), len(pins) - written


def exchange(
    plane: DataPlane, lock: threading.RLock, peer: Pinned, act: talk.Exchange, master: str, epoch: int
) -> talk.Exchanged:
    """Each side gets what the other saw; a key gets no younger, for our clock is read first."""
    ours_ms = plane.now_ms()
    copied = records.read(peer.pins(act.theirs_ms), protocol=wire.PROTOCOL)
    with lock:
        plane.take_in(records.foreign(copied, ours_ms))
    for batch in plane.export(act.ours_ms):
        pins = batch if act.ours_ms is None else records.own(batch)
        if len(pins):
            stream = records.write([pins], protocol=wire.PROTOCOL, epoch=epoch, now_ms=plane.now_ms())
            peer.put_pins(master, stream)
    return talk.Exchanged(copied.now_ms, ours_ms, act.begun)


def feed(
    plane: DataPlane,
    epoch: Callable[[float], int | None],
    clock: Callable[[], float],
    ended: Callable[[float], bool],
) -> Iterator[bytes]:
    """Round after round of what changes in a table, and signs of life between.

    `epoch` tells that of all pins which are there, if it can in so many s; `ended` waits so long for the end.
    """
    yield _feed.header(wire.PROTOCOL)
    known = _feed.Known.of(records.none())
    rest = 0.0
    while not ended(min(rest, BEAT)):
        rest -= BEAT
        if rest > 0:
            yield _feed.BEAT
            continue
        begun, parts = clock(), [records.none()]
        for batch in plane.export(None):
            parts.append(batch)
            yield _feed.BEAT
        while (present := epoch(BEAT)) is None:
            yield _feed.BEAT
        fresh = _feed.Known.of(np.concatenate(parts))
        gone, here = _feed.compare(known, fresh)
        known, took = fresh, clock() - begun
        yield from _feed.write(_feed.Round(present, round(1000 * took), gone, here))
        rest = max(PACE, took / SHARE) - took
