"""The session table of the user-space data planes, without any interface: one segment of shared memory."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest

from catenary.session import End, SessionKey
from lb_adapter import abi
from lb_adapter.core.setup import Order
from lb_adapter.dataplane import ring
from lb_adapter.dataplane.segment import Segment, ffi
from topologies.patience import PATIENCE_S

Eventually = Callable[..., None]

PINS, THREADS = 4096, 4
HOUR_MS = 3600_000


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment.create(PINS, THREADS, 1)
    made.config.lease_ms = made.config.transit_ms = 1000
    for state in range(8):
        made.config.tau_ms[state] = HOUR_MS
    for slot in range(THREADS):
        made.slots[slot].state = abi.SLOT_STATES["SLOT_ACTIVE"]
        made.slots[slot].generation = 1
    yield made
    made.close()


def key(number: int, v6: bool = False) -> SessionKey:
    client = ip_address(f"fd00::{number:x}" if v6 else f"10.0.{number >> 8}.{number & 255}")
    return SessionKey.of(End(client, 1000), End(ip_address("fd00:1::1" if v6 else "10.9.0.1"), 80), 6)


def keys(numbers: range, v6: bool = False) -> bytes:
    return b"".join(key(number, v6).pack() for number in numbers)


def word(slot: int, generation: int = 1, age_ms: int = 0) -> int:
    """A pin word of an established session."""
    seen = int(time.monotonic() * 1000) - age_ms & 0xFFFFFFFF
    return 3 << 58 | generation << 48 | slot << 32 | seen


def insert(segment: Segment, packed: bytes, value: int, thread: int = 0) -> int:
    rows = ffi.from_buffer("struct session_key *", bytearray(packed))
    return int(segment.lib.pin_insert(segment.pointer, thread, rows, len(packed) // 48, value))


def find(segment: Segment, wanted: SessionKey) -> int:
    row = ffi.from_buffer("struct session_key *", bytearray(wanted.pack()))
    return int(segment.lib.pin_find(segment.pointer, row))


def used(segment: Segment) -> tuple[int, int]:
    return tuple(segment.lib.segment_used(segment.pointer, v6) for v6 in (0, 1))  # type: ignore[return-value]


def walk(segment: Segment) -> None:
    assert segment.lib.segment_walk(segment.pointer) == 0


def sweep(segment: Segment, order: Order) -> tuple[int, int]:
    """How many sessions were reset, and moved."""
    raw = abi.sweep(order)
    ffi.memmove(segment.order, raw, len(raw))
    assert segment.lib.segment_sweep(segment.pointer) == 0
    return int(segment.order.reset), int(segment.order.moved)


@pytest.mark.parametrize("v6", [False, True])
def test_what_was_inserted_is_found_and_nothing_else(segment: Segment, v6: bool) -> None:
    value = word(2)
    assert insert(segment, keys(range(1000), v6), value) == 1000
    assert all(find(segment, key(number, v6)) == value for number in range(1000))
    assert not any(find(segment, key(number, v6)) for number in range(1000, 2000))
    assert not any(find(segment, key(number, not v6)) for number in range(1000)), "a table of its own"
    assert insert(segment, keys(range(1000), v6), word(1)) == 0, "only if absent"
    assert find(segment, key(7, v6)) == value
    assert used(segment) == ((0, 1000) if v6 else (1000, 0))


def test_of_those_that_ended_the_ring_keeps_the_newest() -> None:
    """What is told of the past goes back by a count of sessions, not by a time."""
    early, count = 500, abi.ENDED + 500
    packed = np.tile(np.frombuffer(key(0, v6=True).pack(), dtype=np.uint8), (count, 1))
    packed[:, 12:16] = np.arange(count, dtype=">u4").view(np.uint8).reshape(-1, 4)  # of the client's address
    made = Segment.create(count, 1, 1)
    made.slots[0].generation = 1
    assert len(ring.whole(made.ended())) == 0
    for part in (packed[:early], packed[early:]):
        assert insert(made, part.tobytes(), word(0, age_ms=HOUR_MS)) == len(part)
        walk(made)
    rows = ring.whole(made.ended())
    made.close()
    assert {row.tobytes() for row in rows["key"]} == {row.tobytes() for row in packed[early:]}
    assert {abi.ENDINGS[why] for why in rows["why"]} == {"expired"}
    assert sorted(rows["number"]) == [*range(early + 1, count + 1)]


@pytest.mark.parametrize("v6", [False, True])
def test_of_threads_that_insert_one_key_at_once_one_wins(segment: Segment, v6: bool) -> None:
    packed = keys(range(2000), v6)
    won: dict[int, int] = {}
    gate = threading.Barrier(THREADS)

    def race(thread: int) -> None:
        gate.wait()
        won[thread] = insert(segment, packed, word(thread), thread)

    threads = [threading.Thread(target=race, args=(thread,)) for thread in range(THREADS)]
    for racer in threads:
        racer.start()
    for racer in threads:
        racer.join()
    assert sum(won.values()) == 2000
    held = [find(segment, key(number, v6)) >> 32 & 0x3FF for number in range(2000)]
    assert {thread: held.count(thread) for thread in range(THREADS)} == won
    walk(segment)
    assert [segment.walked[slot].pins for slot in range(THREADS)] == [won[slot] for slot in range(THREADS)]


def test_full_table_takes_no_more_and_loses_nothing(segment: Segment) -> None:
    value = word(0)
    assert insert(segment, keys(range(PINS + 500)), value) <= PINS
    held = used(segment)[0]
    assert held > 0.95 * PINS, "few buckets run over before the table is full"
    assert sum(find(segment, key(number)) == value for number in range(PINS + 500)) == held


def test_walk_counts_by_slot_and_reclaims_what_expired(segment: Segment) -> None:
    insert(segment, keys(range(100)), word(0))
    insert(segment, keys(range(100, 150), v6=True), word(1))
    insert(segment, keys(range(200, 260)), word(2, age_ms=2 * HOUR_MS))
    insert(segment, keys(range(300, 340)), word(3, generation=7))
    walk(segment)
    assert [segment.walked[slot].pins for slot in range(4)] == [100, 50, 0, 0]
    assert [segment.walked[slot].expired for slot in range(4)] == [0, 0, 60, 40]
    states = [list(segment.walked[slot].states) for slot in range(4)]
    assert [sum(row) for row in states] == [100, 50, 0, 0]
    assert states[0][abi.PIN_STATES["PIN_ESTABLISHED"]] == 100
    assert used(segment) == (100, 50)
    assert find(segment, key(210)) == 0
    assert insert(segment, keys(range(200, 260)), word(2)) == 60, "their place is free again"


def test_an_order_frees_what_it_deletes_and_keeps_tombstones(segment: Segment) -> None:
    for slot in range(3):
        for v6 in (False, True):
            insert(segment, keys(range(100 * slot, 100 * slot + 100), v6), word(slot))
    assert sweep(segment, Order("delete", (0, 1))) == (0, 200)
    assert sweep(segment, Order("delete", (1, 2))) == (0, 0), "another generation"
    assert used(segment) == (200, 200)
    assert sweep(segment, Order("reset", (1, 1))) == (200, 0)
    assert sweep(segment, Order("move", key=key(250), to=(3, 1))) == (0, 1)
    walk(segment)
    assert used(segment) == (200, 200), "tombstones stay"
    assert [segment.walked[slot].pins for slot in range(4)] == [0, 0, 199, 1]
    assert find(segment, key(150)) >> 58 & 7 == 7
    assert not find(segment, key(50))
    rows = [segment.chain_rows(slot) for slot in range(3)]
    assert [int(row["reset"].sum()) for row in rows] == [0, 200, 0]
    assert [int(row["moved"].sum()) for row in rows] == [200, 0, 1]


def test_what_ended_is_found_in_the_ring(segment: Segment) -> None:
    insert(segment, keys(range(30)), word(1))
    assert len(ring.whole(segment.ended())) == 0
    sweep(segment, Order("delete", slot=(1, 1)))
    assert len(ring.whole(segment.ended())) == 30
    (row,) = ring.whole(segment.ended(), key(7))
    assert (row["key"].tobytes(), abi.ENDINGS[row["why"]]) == (key(7).pack(), "let_go")
    assert len(ring.whole(segment.ended(), key(31))) == 0


def test_entry_that_the_walk_marked_dead_is_absent_and_may_be_taken_over(segment: Segment) -> None:
    insert(segment, keys(range(1)), 1 << 63 | word(0))
    assert find(segment, key(0)) == 0
    fresh = word(1)
    assert insert(segment, keys(range(1)), fresh) == 1
    assert find(segment, key(0)) == fresh
    assert used(segment) == (1, 0)


def test_table_is_right_after_any_order_of_insertions_and_walks(segment: Segment) -> None:
    """Against a dict, with many more keys than room over time, so that buckets overflow and are freed."""
    chance = random.Random(5)
    model: dict[int, int] = {}
    expired: set[int] = set()
    for _ in range(60):
        numbers = range(start := chance.randrange(6000), start + chance.randrange(1, 400))
        dying = chance.random() < 0.5
        value = word(0, age_ms=2 * HOUR_MS if dying else 0)
        absent = [number for number in numbers if number not in model]
        if len(model) + len(absent) < 0.9 * PINS:
            assert insert(segment, keys(numbers), value) == len(absent)
            model.update(dict.fromkeys(absent, value))
            expired.update(absent if dying else ())
        if chance.random() < 0.5:
            walk(segment)
            model = {number: held for number, held in model.items() if number not in expired}
            expired.clear()
        assert used(segment)[0] == len(model)
    assert all(find(segment, key(number)) == model.get(number, 0) for number in range(0, 6400, 7))


def test_walk_beside_insertions_loses_none(segment: Segment) -> None:
    stop = threading.Event()

    def walks() -> None:
        while not stop.is_set():
            walk(segment)

    walker = threading.Thread(target=walks)
    walker.start()
    won = 0
    for first in range(0, 3000, 50):
        insert(segment, keys(range(10_000 + first, 10_015 + first)), word(1, age_ms=2 * HOUR_MS), 1)
        won += insert(segment, keys(range(first, first + 50)), word(0), 2)
    stop.set()
    walker.join()
    assert won == 3000
    walk(segment)
    assert [segment.walked[slot].pins for slot in range(2)] == [3000, 0]
    assert all(find(segment, key(number)) for number in range(3000))


def test_what_a_dead_worker_left_is_mended(segment: Segment) -> None:
    value = word(0)
    insert(segment, keys(range(3000)), value)
    assert segment.lib.segment_check(segment.pointer, 0) == 1, "another size"
    segment.lib.segment_mend(segment.pointer)
    assert used(segment) == (3000, 0)
    assert all(find(segment, key(number)) == value for number in range(3000))
    insert(segment, keys(range(5000, 5100)), word(1, age_ms=2 * HOUR_MS))
    walk(segment)
    assert used(segment) == (3000, 0)


def test_switch_waits_for_a_thread_that_is_in_a_batch(segment: Segment) -> None:
    size = ffi.sizeof("struct place_table")
    assert segment.switch(bytes(size), 50)
    epoch = ffi.cast("uint32_t *", segment.lib.segment_reasons(segment.pointer, 1)) - 16
    epoch[0] = 1
    assert not segment.switch(bytes(size), 50), "it has not ended its batch"
    epoch[0] = 0
    assert segment.switch(struct.pack("=I", 9) + bytes(size - 4), 50)
    assert segment.lib.segment_spare(segment.pointer).epoch == 0


SWITCHER = """
import sys
from lb_adapter.dataplane import ring
from lb_adapter.dataplane.segment import Segment, ffi
print(Segment(int(sys.argv[1])).switch(bytes(ffi.sizeof("struct place_table")), 1000))
"""


def test_a_stall_of_the_machine_is_no_stuck_thread(segment: Segment, eventually: Eventually) -> None:
    """Stopped for longer than its patience, it waits on when it goes on, as the threads only do then, too."""
    epoch = ffi.cast("uint32_t *", segment.lib.segment_reasons(segment.pointer, 1)) - 16
    epoch[0] = 1
    spare = segment.lib.segment_spare(segment.pointer)
    argv = [sys.executable, "-c", SWITCHER, str(segment.fd)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, pass_fds=[segment.fd]) as waiting:
        eventually(lambda: segment.lib.segment_spare(segment.pointer) != spare)
        waiting.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        before = switches(waiting)
        waiting.send_signal(signal.SIGCONT)
        eventually(lambda: waiting.poll() is not None or switches(waiting) > before + 2)
        epoch[0] = 0
        assert waiting.communicate(timeout=PATIENCE_S)[0] == "True\n"


def switches(process: subprocess.Popen[str]) -> int:
    """How often it has gone to sleep by itself."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
