"""The pins of an active load balancer on their way to its standby, for as long as both live. Pure.

A header, then frames, without an end; all numbers are of this host's byte order:

    header   8 s magic | u32 protocol | u32 bytes of a record | u32 CRC-32 of these
    frame    u32 kind | u32 records | u32 epoch | u32 age | u32 CRC-32 of these and the records | the records

GONE and HERE bring what changed in the table since the last round, ROUND ends one: from then on the standby
has all that was there `age` ms before. BEAT says that the sender lives. The first round is the whole table.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from catenary.errors import Conflict
from lb_adapter import records
from lb_adapter.records import PinRecords, Words

MAGIC = b"CATFEED\0"
_HEADER = struct.Struct("=8s2I")
_FRAME = struct.Struct("=4I")
_CHECKSUM = struct.Struct("=I")


class Kind(IntEnum):
    """What a frame is."""

    BEAT = 0
    GONE = 1
    HERE = 2
    ROUND = 3


@dataclass(frozen=True)
class Round:
    """What changed in a table up to `age_ms` before it was sent; the chain set was that of `epoch` then."""

    epoch: int
    age_ms: int
    gone: PinRecords = field(default_factory=records.none)
    here: PinRecords = field(default_factory=records.none)


@dataclass(frozen=True)
class Known:
    """A table as it was at a moment, in the order of its keys' hashes."""

    hashes: Words
    records: PinRecords

    @classmethod
    def of(cls, pins: PinRecords, seed: int = 0) -> Known:
        keys = pins["key"] ^ np.uint8(seed & 0xFF)
        hashes = records.hashes(keys)
        order = np.argsort(hashes)
        return cls(hashes[order], pins[order])

    @property
    def ambiguous(self) -> bool:
        """Have two keys one hash?"""
        return bool((self.hashes[1:] == self.hashes[:-1]).any())


def difference(before: PinRecords, after: PinRecords) -> tuple[PinRecords, PinRecords]:
    """What is not there any more, and what is new or has another word but for when it was last seen.

    A standby's pins don't age, so that a packet alone changes nothing there.
    """
    return compare(Known.of(before), Known.of(after))


def compare(before: Known, after: Known) -> tuple[PinRecords, PinRecords]:
    """`difference` of tables that are in order already."""
    seed = 0
    while before.ambiguous or after.ambiguous or not _same_keys(before, after):
        seed += 1
        before, after = Known.of(before.records, seed), Known.of(after.records, seed)
    at, found = _find(before, after)
    changed = ~found
    old, new = before.records["word"][at[found]], after.records["word"][found]
    changed[found] = old >> np.uint64(32) != new >> np.uint64(32)
    _, kept = _find(after, before)
    return before.records[~kept], after.records[changed]


def _find(table: Known, wanted: Known) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where the keys of `wanted` are in `table`, and which of them are there."""
    if not len(table.hashes):
        return np.zeros(len(wanted.hashes), np.intp), np.zeros(len(wanted.hashes), np.bool_)
    at = np.minimum(np.searchsorted(table.hashes, wanted.hashes), len(table.hashes) - 1)
    return at, table.hashes[at] == wanted.hashes


def _same_keys(before: Known, after: Known) -> bool:
    """Is each hash that both have of one key?"""
    at, found = _find(before, after)
    return bool((before.records["key"][at[found]] == after.records["key"][found]).all())


def header(protocol: int) -> bytes:
    """How a stream begins."""
    raw = _HEADER.pack(MAGIC, protocol, records.RECORD.itemsize)
    return raw + _CHECKSUM.pack(zlib.crc32(raw))


def _frame(kind: Kind, pins: PinRecords, epoch: int = 0, age_ms: int = 0) -> bytes:
    raw = pins.tobytes()
    head = _FRAME.pack(kind, len(pins), epoch, age_ms & 0xFFFFFFFF)
    return head + _CHECKSUM.pack(zlib.crc32(raw, zlib.crc32(head))) + raw


BEAT = _frame(Kind.BEAT, records.none())
"""A sign of life."""


def write(made: Round) -> Iterator[bytes]:
    """The frames of a round."""
    for kind, pins in ((Kind.GONE, made.gone), (Kind.HERE, made.here)):
        for first in range(0, len(pins), records.FRAME):
            yield _frame(kind, pins[first : first + records.FRAME])
    yield _frame(Kind.ROUND, records.none(), made.epoch, made.age_ms)


def read(chunks: Iterable[bytes], *, protocol: int) -> Iterator[Round | None]:
    """The rounds of a stream, and None for each sign of life between them; it ends when the stream does.

    `Conflict` for one that is cut, damaged or of another release.
    """
    source = records.Source(chunks, "stream")
    raw = source.take(_HEADER.size)
    magic, theirs, size = _HEADER.unpack(raw)
    if magic != MAGIC or size != records.RECORD.itemsize:
        raise Conflict("this is no stream of pins, or another release's: run the same on both")
    if theirs != protocol:
        raise Conflict(f"the stream speaks protocol {theirs}, not {protocol}: run the same release on both")
    if _CHECKSUM.unpack(source.take(_CHECKSUM.size)) != (zlib.crc32(raw),):
        raise Conflict("the stream is damaged at its beginning: wrong checksum")
    parts: dict[Kind, list[PinRecords]] = {Kind.GONE: [], Kind.HERE: []}
    while not source.ended:
        kind, epoch, age_ms, pins = _read_frame(source)
        if kind in parts:
            parts[kind].append(pins)
        if kind is not Kind.ROUND:
            yield None
            continue
        gone, here = (np.concatenate([records.none(), *parts[name]]) for name in (Kind.GONE, Kind.HERE))
        yield Round(epoch, age_ms, gone, here)
        parts = {Kind.GONE: [], Kind.HERE: []}


def _read_frame(source: records.Source) -> tuple[Kind, int, int, PinRecords]:
    head = source.take(_FRAME.size)
    kind, count, epoch, age_ms = _FRAME.unpack(head)
    (checksum,) = _CHECKSUM.unpack(source.take(_CHECKSUM.size))
    if count > records.FRAME or kind not in list(Kind):
        raise Conflict(f"the stream is damaged: a frame {kind} of {count}")
    raw = source.take(count * records.RECORD.itemsize)
    if zlib.crc32(raw, zlib.crc32(head)) != checksum:
        raise Conflict("the stream is damaged: wrong checksum")
    return Kind(kind), epoch, age_ms, np.frombuffer(raw, dtype=records.RECORD)
