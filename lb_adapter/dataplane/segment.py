"""The shared memory of a user-space splice, through `native/libsplice.so` (cffi, ABI mode)."""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cffi import FFI

from catenary.errors import Unsupported
from catenary.session import SessionKey
from lb_adapter import abi, records
from lb_adapter.dataplane import ring
from lb_adapter.dataplane.drift import Tally
from lb_adapter.records import PinRecords

NATIVE = Path(__file__).parent.parent / "native"
LIBRARY = NATIVE / "libsplice.so"
_CDEF = """
uint64_t segment_bytes(uint32_t pins, uint32_t threads);
void segment_format(void *, uint32_t pins, uint32_t threads, uint64_t seed, uint32_t plane);
int segment_check(const void *, uint64_t bytes);
uint32_t segment_pins(const void *); uint32_t segment_threads(const void *);
uint32_t segment_plane(const void *);
uint32_t *segment_chain_set(void *); struct port_before *segment_ports(void *);
struct config *segment_config(void *); struct slot *segment_slots(void *); struct vid *segment_vids(void *);
struct walk_result *segment_walked(void *); struct sweep *segment_order(void *);
uint64_t *segment_reasons(void *, uint32_t thread);
struct chain_counters *segment_chains(void *, uint32_t thread);
struct place_table *segment_placed(void *); struct place_table *segment_spare(void *);
uint64_t *segment_traffic(void *, uint32_t thread); int segment_switch(void *, uint32_t timeout_ms);
int segment_walk(void *); int segment_sweep(void *); void segment_mend(void *);
uint32_t segment_used(void *, int v6); uint64_t segment_live(void *, uint32_t slot);
uint64_t *segment_loads(void *); void segment_mend_load(void *, uint32_t slot, int64_t by);
struct staged *segment_staged(void *); uint32_t segment_insert(void *); uint32_t segment_now(void);
struct ended *segment_ended(void *); struct probed *segment_probes(void *);
uint32_t segment_export(void *, uint64_t *cursor, struct session_record *, uint32_t most);
int pin_show(void *, const struct session_key *, struct session_record *);
uint64_t pin_find(void *, const struct session_key *);
void pin_set(void *, const struct session_key *, uint64_t word);
uint32_t pin_insert(void *, uint32_t thread, const struct session_key *, uint32_t count, uint64_t word);
struct virtio_net_hdr { uint8_t flags, gso_type; uint16_t hdr_len, gso_size, csum_start, csum_offset; };
uint32_t splice_frame(void *, int from, uint8_t *buffer, uint32_t *length, uint16_t tpid, uint16_t tci,
                      struct virtio_net_hdr *, uint16_t *verdict);
void splice_time(void *, const uint8_t *frame, uint32_t length, uint32_t sessions, uint32_t rounds,
                 uint32_t batch, int in_order, uint32_t *batch_ns);
"""
ffi: Any = FFI()
ffi.include(abi.ffi)
ffi.cdef(_CDEF)
_SESSION = abi.dtype("session_record")
STAGED = len(ffi.new("struct staged *").records)
_CHAIN_SIZE = ffi.sizeof("struct chain_counters")


@cache
def library() -> Any:
    """The functions of `native/library.c`."""
    if not LIBRARY.exists():
        raise Unsupported(f"{LIBRARY} is not built: run `make build`")
    return ffi.dlopen(str(LIBRARY))


class Segment:
    """A mapping of one segment. `fd` is what a worker maps, too; the memory ends with its last user."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        size = os.fstat(fd).st_size
        self._map = mmap.mmap(fd, size)
        self._buffer = ffi.from_buffer(self._map)
        self.pointer = ffi.cast("void *", self._buffer)
        self.lib = library()

    @classmethod
    def create(cls, pins: int, threads: int, plane: int) -> Segment:
        """A new, empty one with room for `pins` IPv4 sessions and as many others."""
        fd = os.memfd_create("catenary-splice", os.MFD_CLOEXEC)
        os.ftruncate(fd, library().segment_bytes(pins, threads))
        segment = cls(fd)
        segment.lib.segment_format(segment.pointer, pins, threads, secrets.randbits(64), plane)
        return segment

    def valid(self) -> bool:
        """Was it made by this release?"""
        return bool(self.lib.segment_check(self.pointer, len(self._map)) == 0)

    @property
    def pins(self) -> int:
        return int(self.lib.segment_pins(self.pointer))

    @property
    def threads(self) -> int:
        return int(self.lib.segment_threads(self.pointer))

    @property
    def plane(self) -> int:
        return int(self.lib.segment_plane(self.pointer))

    @property
    def config(self) -> Any:
        return self.lib.segment_config(self.pointer)

    @property
    def ports(self) -> Any:
        return self.lib.segment_ports(self.pointer)

    @property
    def slots(self) -> Any:
        return self.lib.segment_slots(self.pointer)

    @property
    def vids(self) -> Any:
        return self.lib.segment_vids(self.pointer)

    @property
    def chain_set(self) -> Any:
        return self.lib.segment_chain_set(self.pointer)

    @property
    def walked(self) -> Any:
        return self.lib.segment_walked(self.pointer)

    @property
    def order(self) -> Any:
        return self.lib.segment_order(self.pointer)

    @property
    def probes(self) -> Any:
        return self.lib.segment_probes(self.pointer)

    def switch(self, row: bytes, timeout_ms: int) -> bool:
        """Put a place table in force. False: a thread of the worker has not left the old one in time."""
        spare = self.lib.segment_spare(self.pointer)
        ffi.memmove(spare, row, len(row))
        return bool(self.lib.segment_switch(self.pointer, timeout_ms) == 0)

    def placed(self) -> bytes:
        """The place table that is in force."""
        return bytes(ffi.buffer(self.lib.segment_placed(self.pointer), ffi.sizeof("struct place_table")))

    def traffic(self) -> list[int]:
        """New sessions by what the classifier said of them, of all threads together."""
        rows = [self.lib.segment_traffic(self.pointer, thread) for thread in range(self.threads)]
        return [sum(row[kind] for row in rows) for kind in range(abi.TRAFFICS)]

    def zero_traffic(self) -> None:
        for thread in range(self.threads):
            ffi.buffer(self.lib.segment_traffic(self.pointer, thread), 8 * abi.TRAFFICS)[:] = bytes(
                8 * abi.TRAFFICS
            )

    def reasons(self) -> dict[str, int]:
        """Packets by reason, of all threads together."""
        size = 8 * len(abi.REASONS)
        total = np.zeros(len(abi.REASONS), dtype=np.uint64)
        for thread in range(self.threads):
            row = self.lib.segment_reasons(self.pointer, thread)
            total += np.frombuffer(ffi.buffer(row, size), dtype=np.uint64)
        return {name: int(total[value]) for name, value in abi.REASONS.items()}

    def chain_rows(self, slot: int) -> Any:
        """`struct chain_counters` of a slot, one row a thread."""
        layout = abi.dtype("chain_counters")
        rows = [self.lib.segment_chains(self.pointer, thread) + slot for thread in range(self.threads)]
        raw = b"".join(bytes(ffi.buffer(row, layout.itemsize)) for row in rows)
        return np.frombuffer(raw, dtype=layout)

    def tally(self) -> Tally:
        layout, size = abi.dtype("chain_counters"), _CHAIN_SIZE * abi.MAX_SLOTS
        areas = [self.lib.segment_chains(self.pointer, thread) for thread in range(self.threads)]
        rows = [np.frombuffer(ffi.buffer(area, size), dtype=layout)["new_sessions"] for area in areas]
        loads = ffi.buffer(self.lib.segment_loads(self.pointer), 8 * abi.MAX_SLOTS)
        return Tally(np.frombuffer(loads, dtype=np.int64).copy(), np.sum(rows, axis=0, dtype=np.int64))

    def live(self) -> npt.NDArray[np.int64]:
        """What the last walk counted, by slot."""
        layout = abi.dtype("walk_result")
        rows = ffi.buffer(self.walked, layout.itemsize * abi.MAX_SLOTS)
        return np.frombuffer(rows, dtype=layout)["live"].astype(np.int64)

    def zero_chain(self, slot: int) -> None:
        for thread in range(self.threads):
            row = ffi.buffer(self.lib.segment_chains(self.pointer, thread) + slot, _CHAIN_SIZE)
            row[:] = bytes(_CHAIN_SIZE)

    def now_ms(self) -> int:
        return int(self.lib.segment_now())

    def export(self) -> Iterator[npt.NDArray[np.void]]:
        """All entries of the session tables, as `struct session_record`, while the worker goes on."""
        cursor = ffi.new("uint64_t *")
        while True:
            batch = np.zeros(records.FRAME, dtype=_SESSION)
            target = ffi.from_buffer("struct session_record *", batch)
            count = self.lib.segment_export(self.pointer, cursor, target, len(batch))
            if not count:
                return
            yield batch[:count]

    def show(self, key: SessionKey) -> Iterator[npt.NDArray[np.void]]:
        """The entry of a session, if there is one."""
        packed = ffi.from_buffer("struct session_key *", bytearray(key.pack()))
        row = np.zeros(1, dtype=_SESSION)
        if self.lib.pin_show(self.pointer, packed, ffi.from_buffer("struct session_record *", row)):
            yield row

    def ended(self) -> ring.Rows:
        """The ring of sessions that ended (`ring`), as it is shared."""
        return ring.shared(ffi.buffer(self.lib.segment_ended(self.pointer), ring.SIZE))

    def stage(self, pins: PinRecords, *, take_in: bool) -> Iterator[None]:
        """Lay a part of the pins ready for `segment_insert`, then the next one."""
        staged = self.lib.segment_staged(self.pointer)
        staged.take_in = take_in
        for first in range(0, len(pins), STAGED):
            part = np.ascontiguousarray(pins[first : first + STAGED])
            ffi.memmove(staged.records, part.tobytes(), part.nbytes)
            staged.count = len(part)
            yield

    def close(self) -> None:
        """Unmap it here; a worker keeps it."""
        ffi.release(self._buffer)
        self._map.close()
        os.close(self.fd)
