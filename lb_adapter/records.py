"""Pins on their way to the other load balancer: fixed binary records, a stream with counts and checksums.

Pure. A stream is a header, then frames of records, then an end that says how many there were; all numbers
are of this host's byte order, which the size of a record shows:

    header   8 s magic | u32 protocol | u32 bytes of a record | u32 now_ms | u32 epoch | u32 CRC-32 of these
    frame    u32 count | u32 CRC-32 of the records | the records
    beat     u32 ~0    | u32 0                     : the sender lives, and has found nothing to send
    end      u32 0     | u32 CRC-32 of the count   | u64 count of all records
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catenary.errors import Conflict
from catenary.session import HASH_MULTIPLIER, HASH_SEED
from lb_adapter import abi

Words = npt.NDArray[np.uint64]
PinRecords = npt.NDArray[np.void]
"""One-dimensional, of dtype `RECORD`."""

RECORD = np.dtype([("key", np.uint8, (48,)), ("word", np.uint64)])
"""`struct pin_record` of core/abi.h: the bytes of a `struct session_key`, and the pin word (core/pin.h)."""

PIN = abi.dtype("pin")
Pins = npt.NDArray[np.void]
"""One-dimensional, of dtype `PIN`: `struct pin`."""

MAGIC = b"CATPINS\0"
_HEADER = struct.Struct("=8s4I")
_CHECKSUM = struct.Struct("=I")
_FRAME = struct.Struct("=2I")
_TOTAL = struct.Struct("=Q")
_MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", dtype=np.uint8)
FRAME = 65536
"""Records in a frame at most."""
_BEAT = 2**32 - 1
AGELESS_MS = 1 << 30
"""Last seen so long ago, 12 days, it is expired by any timeouts; so far ahead, it does not age that long."""


@dataclass(frozen=True)
class Copy:
    """All pins of a table as its owner sent them, complete and checked. `now_ms`: its clock when it began."""

    epoch: int
    now_ms: int
    records: PinRecords


def none() -> PinRecords:
    return np.zeros(0, dtype=RECORD)


def of(keys: bytes, words: bytes) -> PinRecords:
    """Records of full keys, 48 bytes each, and pin words, 8 bytes each."""
    records = np.zeros(len(words) // 8, dtype=RECORD)
    records["key"] = np.frombuffer(keys, dtype=np.uint8).reshape(-1, 48)
    records["word"] = np.frombuffer(words, dtype=np.uint64)
    return records


def of_small(keys: bytes, words: bytes) -> PinRecords:
    """The same from keys of `struct ipv4_key`, 16 bytes each."""
    records = np.zeros(len(words) // 8, dtype=RECORD)
    small = np.frombuffer(keys, dtype=np.uint8).reshape(-1, 16)
    tags = small[:, 12:].copy().view(np.uint32)[:, 0]
    full = np.zeros((len(small), 48), dtype=np.uint8)
    full[:, 0:12] = full[:, 16:28] = _MAPPED
    full[:, 12:16], full[:, 28:32] = small[:, 0:4], small[:, 4:8]
    full[:, 32:36] = small[:, 8:12]
    rest = np.stack([tags & 0xFFF, tags >> 12 & 0xFFF, tags >> 24], axis=1).astype(np.uint16)
    full[:, 36:42] = rest.view(np.uint8)
    records["key"], records["word"] = full, np.frombuffer(words, dtype=np.uint64)
    return records


def small_keys(records: PinRecords) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """Which records have a key that `struct ipv4_key` holds, and these keys, 16 bytes each."""
    keys = records["key"]
    numbers = keys[:, 36:42].copy().view(np.uint16).astype(np.uint32)
    fits = (keys[:, 0:12] == _MAPPED).all(1) & (keys[:, 16:28] == _MAPPED).all(1) & (numbers[:, 2] < 256)
    keys, numbers = keys[fits], numbers[fits]
    small = np.zeros((len(keys), 16), dtype=np.uint8)
    small[:, 0:4], small[:, 4:8], small[:, 8:12] = keys[:, 12:16], keys[:, 28:32], keys[:, 32:36]
    tags = numbers[:, 0] | numbers[:, 1] << 12 | numbers[:, 2] << 24
    small[:, 12:] = tags.reshape(-1, 1).view(np.uint8)
    return fits, small


def full_keys(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Keys of 48 bytes, from rows of such, or of a `struct ipv4_key`."""
    if keys.shape[1] == RECORD["key"].shape[0]:
        return keys
    raw = np.ascontiguousarray(keys).tobytes()
    full: npt.NDArray[np.uint8] = of_small(raw, bytes(8 * len(keys)))["key"]
    return full


def hashes(keys: npt.NDArray[np.uint8]) -> Words:
    """`hash_key` of core/key.h, of keys of 48 bytes."""
    value = np.full(len(keys), HASH_SEED, dtype=np.uint64)
    for word in np.ascontiguousarray(keys).view(np.uint32).T:
        value = (value ^ word) * np.uint64(HASH_MULTIPLIER)
        value ^= value >> np.uint64(32)
    return value


def checks(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """`key_check` of core/key.h, of keys of 48 bytes."""
    total = np.zeros(len(keys), dtype=np.uint64)
    for number, word in enumerate(np.ascontiguousarray(keys).view(np.uint64).T, 1):
        total += word * np.uint64(pow(HASH_MULTIPLIER, number, 1 << 64))
    checked: npt.NDArray[np.uint32] = (total >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    return checked


def check(key: bytes) -> int:
    """The same, of one key."""
    return int(checks(np.frombuffer(key, dtype=np.uint8).reshape(1, -1))[0])


def copied(sessions: PinRecords, now_ms: int, epoch: int) -> Pins:
    """Pins of sessions that were copied from the peer: what they carried before is not known."""
    pins = np.zeros(len(sessions), dtype=PIN)
    pins["word"], pins["check"], origin = sessions["word"], checks(sessions["key"]), pins["origin"]
    origin["at_ms"], origin["epoch"] = now_ms & 0xFFFFFFFF, epoch
    origin["cause"], origin["other"] = abi.CAUSES.index("copied"), abi.NO_SLOT
    return pins


def seen_since(words: Words, since_ms: int) -> npt.NDArray[np.bool_]:
    """Which pin words were last written at `since_ms` or later; both are modulo 2**32."""
    age = words.astype(np.uint32) - np.uint32(since_ms & 0xFFFFFFFF)
    fresh: npt.NDArray[np.bool_] = age.view(np.int32) >= 0
    return fresh


def taken_over(records: PinRecords, generations: Mapping[int, int], now_ms: int) -> PinRecords:
    """The slave's leases and hints as pins of a master (affinity rule 8).

    Every pin is as lively as it was, or livelier: last seen now, and not closing, for a slave sees only one
    direction, unless it had that from a master. `generations` are those of the slots in use: other pins name
    chains that are gone.
    """
    words = records["word"]
    slots, states = field(words, "slot"), field(words, "state")
    known = np.full(abi.MAX_SLOTS, -1, dtype=np.int64)
    known[list(generations)] = [generation & 0x3FF for generation in generations.values()]
    tombstone = states == abi.PIN_STATES["PIN_RESET"]  # it belongs to no chain
    alive = ((known[slots] == field(words, "generation")) | tombstone) & (field(words, "dead") == 0)
    closing = (states == abi.PIN_STATES["PIN_CLOSING"]) & (field(words, "outer") != abi.FOREIGN)
    states = np.where(closing, np.uint64(abi.PIN_STATES["PIN_ESTABLISHED"]), states)
    fresh = records.copy()
    kept = words & np.uint64(abi.mask("slot") | abi.mask("generation"))
    fresh["word"] = kept | states << np.uint64(abi.PIN_FIELDS["state"][0]) | np.uint64(now_ms & 0xFFFFFFFF)
    taken: PinRecords = fresh[alive]
    return taken


def refreshed(records: PinRecords, now_ms: int) -> PinRecords:
    """The same pins, last seen at `now_ms`."""
    fresh = records.copy()
    fresh["word"] = records["word"] & ~np.uint64(abi.mask("seen")) | np.uint64(now_ms & 0xFFFFFFFF)
    return fresh


def ageless(records: PinRecords, now_ms: int) -> PinRecords:
    """Those that are not as good as expired, by whatever timeouts."""
    ages = (np.uint32(now_ms & 0xFFFFFFFF) - field(records["word"], "seen").astype(np.uint32)).view(np.int32)
    alive: PinRecords = records[ages < AGELESS_MS // 2]
    return alive


def foreign(copy: Copy, now_ms: int) -> PinRecords:
    """The other load balancer's pins as this one takes them in (affinity rule 2).

    They are marked as the other's, and as old as they were there if it is `now_ms` here when the copy begins.
    """
    words = copy.records["word"]
    alive = field(words, "dead") == 0
    ages = (np.uint32(copy.now_ms & 0xFFFFFFFF) - field(words, "seen").astype(np.uint32)).view(np.int32)
    seen = np.uint32(now_ms & 0xFFFFFFFF) - np.maximum(ages, 0).astype(np.uint32)  # seen since then: age 0
    kept = words & np.uint64(abi.mask("slot") | abi.mask("generation") | abi.mask("state") | abi.mask("fins"))
    taken = copy.records.copy()
    taken["word"] = kept | np.uint64(abi.FOREIGN << abi.PIN_FIELDS["outer"][0]) | seen.astype(np.uint64)
    result: PinRecords = taken[alive]
    return result


def own(records: PinRecords) -> PinRecords:
    """Those that were not the other load balancer's in the first place."""
    result: PinRecords = records[field(records["word"], "outer") != abi.FOREIGN]
    return result


def field(words: Words, name: str) -> Words:
    """A field of pin words, by its name in `abi.PIN_FIELDS`."""
    shift, bits = abi.PIN_FIELDS[name]
    result: Words = words >> np.uint64(shift) & np.uint64((1 << bits) - 1)
    return result


def write(batches: Iterable[PinRecords], *, protocol: int, epoch: int, now_ms: int) -> Iterator[bytes]:
    """The stream of these records. A batch without any is a sign of life."""
    header = _HEADER.pack(MAGIC, protocol, RECORD.itemsize, now_ms & 0xFFFFFFFF, epoch)
    yield header + _CHECKSUM.pack(zlib.crc32(header))
    total = 0
    for batch in batches:
        if not len(batch):
            yield _FRAME.pack(_BEAT, 0)
        for first in range(0, len(batch), FRAME):
            raw = batch[first : first + FRAME].tobytes()
            count = len(raw) // RECORD.itemsize
            total += count
            yield _FRAME.pack(count, zlib.crc32(raw)) + raw
    end = _TOTAL.pack(total)
    yield _FRAME.pack(0, zlib.crc32(end)) + end


def read(chunks: Iterable[bytes], *, protocol: int) -> Copy:
    """The records of a whole stream; `Conflict` for one that is cut, damaged or of another release."""
    source = Source(chunks)
    header = source.take(_HEADER.size)
    magic, theirs, size, now_ms, epoch = _HEADER.unpack(header)
    if magic != MAGIC or size != RECORD.itemsize:
        raise Conflict("this is no copy of a session table, or another release's: run the same on both")
    if theirs != protocol:
        raise Conflict(f"the copy speaks protocol {theirs}, not {protocol}: run the same release on both")
    if _CHECKSUM.unpack(source.take(_CHECKSUM.size)) != (zlib.crc32(header),):
        raise Conflict("the copy is damaged at its beginning: wrong checksum")
    batches: list[PinRecords] = []
    while True:
        count, checksum = _FRAME.unpack(source.take(_FRAME.size))
        if (count, checksum) == (_BEAT, 0):
            continue
        if count > FRAME:
            raise Conflict(f"the copy is damaged after {_count(batches)} sessions: a frame of {count}")
        raw = source.take(count * RECORD.itemsize if count else _TOTAL.size)
        if zlib.crc32(raw) != checksum:
            raise Conflict(f"the copy is damaged after {_count(batches)} sessions: wrong checksum")
        if not count:
            break
        batches.append(np.frombuffer(raw, dtype=RECORD))
    (total,) = _TOTAL.unpack(raw)
    if total != _count(batches):
        raise Conflict(f"the copy has {_count(batches)} sessions and says {total}")
    return Copy(epoch, now_ms, np.concatenate(batches) if batches else none())


def _count(batches: Iterable[PinRecords]) -> int:
    return sum(map(len, batches))


class Source:
    """Bytes from chunks of any size; `what` they are of is told when they end too early."""

    def __init__(self, chunks: Iterable[bytes], what: str = "copy") -> None:
        self._chunks = iter(chunks)
        self._what = what
        self._held = b""
        self._taken = 0

    @property
    def ended(self) -> bool:
        """Is nothing left, now that something might have come?"""
        if not self._held:
            self._held = next(self._chunks, b"")
        return not self._held

    def take(self, size: int) -> bytes:
        parts, missing = [self._held], size - len(self._held)
        while missing > 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                ended = self._taken + size - missing
                raise Conflict(f"the {self._what} ends after {ended} bytes, in the middle")
            parts.append(chunk)
            missing -= len(chunk)
        held = b"".join(parts)
        self._held = held[size:]
        self._taken += size
        return held[:size]
