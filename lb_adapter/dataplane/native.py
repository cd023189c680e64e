"""The user-space data planes: one C loop in a worker process, over AF_PACKET sockets or over PF_RING."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import structlog

from catenary.errors import CatenaryError, Conflict, InvalidValue, Unavailable
from catenary.session import SessionKey
from lb_adapter import abi, records
from lb_adapter.core.setup import Order
from lb_adapter.dataplane import ports, ring, worker
from lb_adapter.dataplane.base import PINS_DEFAULT, Batch, Load, SpliceConfig, Swept
from lb_adapter.dataplane.segment import Segment, ffi
from lb_adapter.dataplane.tables import FREE, SpliceTables, check_pins, read_settings
from lb_adapter.dataplane.worker import Gone, Worker, device_interface
from lb_adapter.records import PinRecords

log = structlog.get_logger("lb_adapter")
NativeName = Literal["af_packet", "pf_ring"]
MAX_THREADS = 64
_NUMBERS: dict[NativeName, int] = {"af_packet": 1, "pf_ring": 2}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_SWITCH_MS = 2000
_SLOT_SIZE = ffi.sizeof("struct slot")
_PORT_SIZE = ffi.sizeof("struct port_before")


class NativeDataPlane(SpliceTables):
    """One splice in a worker process, which goes on without this one and is found again by the next.

    A worker that runs on the same two interfaces is adopted with its chain set and sessions. Without
    `threads` there is one a core that this process may use (pf_ring: one), or what an adopted worker has.
    """

    def __init__(self, name: NativeName, *, pins: int = PINS_DEFAULT, threads: int | None = None) -> None:
        super().__init__()
        check_pins(pins)
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise InvalidValue(f"{threads} threads are out of bounds: use 1..{MAX_THREADS}")
        if name == "pf_ring":
            if threads not in (None, 1):
                raise InvalidValue(f"pf_ring runs in one thread, not {threads}: use --threads 1")
            threads = 1
        self.name: str = name
        self._number = _NUMBERS[name]
        self.capacity = pins
        self._threads = threads
        self._worker: Worker | None = None
        self._memory: Segment | None = None

    @classmethod
    def adopted(cls, outer: str, inner: str) -> NativeDataPlane | None:
        """The data plane of the worker on these interfaces, whatever its options; None without one."""
        found = worker.find(outer, inner)
        if found is None:
            return None
        running, fd = found
        memory = _checked(running, Segment(fd), outer, inner)
        plane = cls(_NAMES[memory.plane], pins=memory.pins, threads=memory.threads)
        plane._worker, plane._memory = running, memory
        return plane

    @property
    def pid(self) -> int | None:
        """The worker's process ID."""
        return self._worker.pid if self._worker else None

    def adopted_config(self, ports: tuple[str, str] | None = None) -> SpliceConfig | None:
        """What an earlier process configured; of the worker on these ports, unless there is one already."""
        if ports is not None and self._memory is None:
            self._take_over(*ports)
        if self._memory is None or not self._memory.config.outers:
            return None
        config = read_settings(self._memory.config)
        return replace(config, outer=ports[0], inner=ports[1]) if ports else config

    @property
    def segment(self) -> Segment:
        """The shared memory; made, or taken over from a running worker, when first needed."""
        if self._memory is None:
            threads = self._threads or min(len(os.sched_getaffinity(0)), MAX_THREADS)
            self._memory = Segment.create(self.capacity, threads, self._number)
        return self._memory

    def configure(self, config: SpliceConfig, *, outer: int | None = None, inner: int | None = None) -> None:
        """Write `struct config`. The interface indices are looked up unless given (test runs have none)."""
        if outer is None or inner is None:
            outer, inner = ports.check(device_interface(config.outer), device_interface(config.inner))
            if self._memory is None:
                self._take_over(config.outer, config.inner)
        self._write_settings(config, outer, inner)

    def _take_over(self, outer: str, inner: str) -> None:
        found = worker.find(outer, inner)
        if found is None:
            return
        running, fd = found
        memory = _checked(running, Segment(fd), outer, inner)
        threads = self._threads or memory.threads
        if (memory.plane, memory.pins, memory.threads) != (self._number, self.capacity, threads):
            options = (
                f"--data-plane {_NAMES[memory.plane]} --sessions {memory.pins} --threads {memory.threads}"
            )
            running.release()
            memory.close()
            raise Conflict(
                f"worker {running.pid} of {outer} and {inner} runs as {options}: ask for the "
                f"same, or `catenary lb detach --outer {outer} --inner {inner}` first, which "
                "loses its sessions"
            )
        self._worker, self._memory = running, memory
        log.info("worker adopted", pid=running.pid, data_plane=self.name)

    def _settings(self) -> Any:
        return self.segment.config

    def _read_slots(self) -> list[bytes]:
        rows = self.segment.slots
        return [bytes(ffi.buffer(rows + slot, _SLOT_SIZE)) for slot in range(abi.MAX_SLOTS)]

    def _write_slot(self, slot: int, row: bytes) -> None:
        """The state last, and free meanwhile if the chain is another one: nobody reads half of each."""
        new, target = abi.unpack("slot", row), self.segment.slots[slot]
        if target.generation != new.generation:
            target.state = FREE
        for field in ("ifindex", "tx", "rx", "generation", "weight", "placed", "bypass", "since_ms", "state"):
            setattr(target, field, getattr(new, field))

    def _write_vid(self, vid: int, row: bytes) -> None:
        ffi.memmove(self.segment.vids + vid, row, len(row))

    def _write_place_table(self, row: bytes) -> None:
        if self.segment.switch(row, _SWITCH_MS) or self._worker is None or not self._worker.alive():
            return  # nobody is left in the old table
        pid = self._worker.pid
        raise Unavailable(f"a thread of worker {pid} is stuck: `kill {pid}`, and it is started again")

    def _read_place_table(self) -> bytes:
        return self.segment.placed()

    def _zero_traffic(self) -> None:
        self.segment.zero_traffic()

    def _read_traffic(self) -> Sequence[int]:
        return self.segment.traffic()

    def _zero_counters(self, slot: int) -> None:
        self.segment.zero_chain(slot)

    def _counters_of(self, slot: int) -> Any:
        return self.segment.chain_rows(slot)

    def _read_probed(self, slot: int) -> Any:
        return self.segment.probes[slot]

    def _read_epoch(self) -> int:
        return int(self.segment.chain_set[0])

    def _write_epoch(self, epoch: int) -> None:
        self.segment.chain_set[0] = epoch

    def walk(self) -> dict[int, Load]:
        """Have the worker walk. One that died is started again, on the sessions that it left."""
        before = self.segment.tally()
        self._obey(b"walk", self.segment.lib.segment_walk)
        rows, after = self.segment.walked, self.segment.tally()
        wrong = self._drift.found(before, after, self.segment.live())
        for slot in map(int, np.flatnonzero(wrong)):
            self.segment.lib.segment_mend_load(self.segment.pointer, slot, int(wrong[slot]))
        return {slot: Load.of(rows[slot]) for slot in {0, *self._applied}}

    def _settle(self) -> None:
        """Wait for an order that took too long: what a worker works on is not written meanwhile.

        `Unavailable` while it is still at it.
        """
        if self._worker is not None and self._worker.left:
            self._replace_worker(self._worker)

    def _obey(self, order: bytes, here: Callable[[Any], int]) -> int:
        """Have the worker go over the table; without one, do it `here`."""
        if self._worker is None:
            return int(here(self.segment.pointer))
        try:
            return self._worker.go_over(order)
        except Gone:
            return self._replace_worker(self._worker).go_over(order)

    def sweep(self, order: Order) -> Swept:
        self._settle()
        raw = abi.sweep(order)
        ffi.memmove(self.segment.order, raw, len(raw))
        self._obey(b"sweep", self.segment.lib.segment_sweep)
        return Swept(int(self.segment.order.reset), int(self.segment.order.moved))

    def now_ms(self) -> int:
        return self.segment.now_ms()

    def export(self, since_ms: int | None) -> Iterator[PinRecords]:
        for batch in self.segment.export():
            if since_ms is not None:
                batch = batch[records.seen_since(batch["pin"]["word"], since_ms)]
            pins = np.zeros(len(batch), dtype=records.RECORD)
            pins["key"], pins["word"] = batch["key"], batch["pin"]["word"]
            yield pins

    def sessions(self, key: SessionKey | None = None) -> Iterator[Batch]:
        rows = self.segment.export() if key is None else self.segment.show(key)
        return (Batch(batch["key"], batch["pin"]) for batch in rows)

    def ended(self, key: SessionKey | None = None) -> ring.Rows:
        return ring.whole(self.segment.ended(), key)

    def insert(self, pins: PinRecords) -> int:
        return self._hand_over(pins, take_in=False)

    def take_in(self, pins: PinRecords) -> None:
        self._hand_over(pins, take_in=True)

    def _hand_over(self, pins: PinRecords, *, take_in: bool) -> int:
        """By way of the worker, for only it takes the table's locks."""
        self._settle()
        parts = self.segment.stage(pins, take_in=take_in)
        return sum(self._obey(b"insert", self.segment.lib.segment_insert) for _ in parts)

    def counters(self) -> dict[str, int]:
        return self.segment.reasons()

    def pin_of(self, key: SessionKey) -> abi.Pin | None:
        """What the table holds for a session, in force or not."""
        packed = ffi.from_buffer("struct session_key *", bytearray(key.pack()))
        word = self.segment.lib.pin_find(self.segment.pointer, packed)
        return abi.Pin.of(struct.pack("=Q", word)) if word else None

    def live(self, slot: int) -> int:
        return int(self.segment.lib.segment_live(self.segment.pointer, slot))

    def attach(self) -> None:
        if self._splice is None:
            raise InvalidValue("configure the data plane before it is attached")
        if self._worker is not None:
            return
        names = [device_interface(device) for device in (self._splice.outer, self._splice.inner)]
        for name in names:
            check_no_filter(name)
        for number, name in enumerate(names):
            self._note(number, ports.take(name, ports.DEAF, ports.UP))
        try:
            self._worker = self._start_worker()
        except CatenaryError:
            self._give_back()
            raise

    def _note(self, number: int, row: bytes) -> None:
        ffi.memmove(self.segment.ports + number, row, len(row))

    def _give_back(self) -> None:
        for number in range(2):
            row = bytes(ffi.buffer(self.segment.ports + number, _PORT_SIZE))
            ports.give_back(row, ports.UP)

    def _start_worker(self) -> Worker:
        assert self._splice is not None, "attach() has checked"
        return worker.start(self.name, self._splice.outer, self._splice.inner, self.segment.fd)

    def _replace_worker(self, gone: Worker) -> Worker:
        """The worker that an upgrade put in the place of this one, or, if it died, a new one.

        Or itself, if it took too long over an order: it answers when that has come to its end.
        """
        present = self._successor()
        if present is None:
            log.warning("worker died", pid=gone.pid, data_plane=self.name)
            present = self._start_worker()
        elif present.pid == gone.pid:
            present.process = gone.process
            log.info("worker answers again", pid=present.pid, data_plane=self.name)
        else:
            log.info("worker was upgraded", pid=present.pid, data_plane=self.name)
        gone.release()
        self._worker = present
        return present

    def _successor(self) -> Worker | None:
        found = worker.find(self._splice.outer, self._splice.inner) if self._splice is not None else None
        if found is None:
            return None
        running, fd = found
        same = os.path.sameopenfile(fd, self.segment.fd)
        os.close(fd)
        if same:
            return running
        running.release()
        return None

    def upgrade(self, program: Path, outer: str, inner: str) -> float:
        """Have another binary carry on in the place of the worker; the seconds for which nobody carried."""
        assert self._worker is not None, "one was adopted"
        fresh, gap = worker.succeed(program, self.name, outer, inner, self.segment.fd)
        self._worker.wait()
        self._worker = fresh
        return gap

    def detach(self) -> None:
        if self._worker is not None:
            if not self._worker.left:
                self._worker.stop()
            successor = self._successor()  # it was upgraded since the last walk, or took too long over it
            if successor is not None:
                successor.stop()
            self._worker = None
            self._give_back()

    def close(self) -> None:
        """Let go of worker and memory; what is attached works on."""
        if self._worker is not None:
            self._worker.release()
            self._worker = None
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def check_no_filter(name: str) -> None:
    """Raise `Conflict` for an interface that has a filter at tc ingress, whoever's."""
    if ports.filters(ports.interface_index(name)):
        raise Conflict(
            f"{name} has a tc filter, which would take the same frames: "
            f"`catenary lb detach` removes ours, `tc filter delete dev {name} ingress` any"
        )


def _checked(running: Worker, memory: Segment, outer: str, inner: str) -> Segment:
    """`memory`, or `Conflict` if it is not what this release reads."""
    if memory.valid():
        return memory
    running.release()
    memory.close()
    raise Conflict(
        f"worker {running.pid} of {outer} and {inner} is of another release: "
        f"`kill {running.pid}` first, which loses its sessions"
    )
