"""The eBPF data plane: loads `bpf/splice.bpf.o`, attaches it at tc clsact, and writes its maps."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catenary import libbpf, libbpf_tc
from catenary.errors import CatenaryError, Conflict, InvalidValue, NotFound
from catenary.session import SessionKey
from lb_adapter import abi, records
from lb_adapter.core.setup import Order
from lb_adapter.dataplane import ports, ring
from lb_adapter.dataplane.base import PINS_DEFAULT, Batch, Load, SpliceConfig, Swept
from lb_adapter.dataplane.bpffs import make_bpffs, pinned_size
from lb_adapter.dataplane.drift import Tally
from lb_adapter.dataplane.tables import SpliceTables, check_pins, read_settings
from lb_adapter.dataplane.tables import number as _key
from lb_adapter.records import PinRecords

OBJECT = Path(__file__).parent.parent / "bpf" / "splice.bpf.o"
_ZERO = _key(0)
FLAGS = ports.UP | ports.PROMISCUOUS
"""Promiscuous: a real NIC would else drop what is not addressed to it."""
PROGRAMS = ("outer", "inner")


class EbpfDataPlane(SpliceTables):
    """One splice. With `pin`, a folder on bpffs, its maps outlive the process and are adopted again.

    To adopt, to configure for the first time and to attach takes CAP_SYS_ADMIN: the kernel asks for it where
    a program or map is found by its number. Nothing does later.
    """

    name = "ebpf"

    def __init__(self, pin: Path | None = None, *, pins: int = PINS_DEFAULT, program: Path = OBJECT) -> None:
        super().__init__()
        check_pins(pins)
        if pin is not None:
            make_bpffs(pin)
            _check_size(pin, pins)
            check_layout(pin, program, pins)
        self.capacity = pins
        self._object = libbpf.Object(program, max_entries=_sizes(pins), pin=pin)
        self._config = abi.mapped("config", self._object.map("config").fd)
        self._slots = self._object.map("slots")
        self._vids = self._object.map("vids")
        self._tables = self._object.map("table")
        self._reasons = self._object.map("reasons", per_cpu=True)
        self._chains = self._object.map("chains", per_cpu=True)
        self._traffic = self._object.map("traffic", per_cpu=True)
        self._walked = self._object.map("walked")
        self._loads = self._object.map("loads")
        self._order = self._object.map("order")
        self._probes = self._object.map("probes")
        self._epoch = self._object.map("epoch")
        self._ended = ring.MappedRing(self._object.map("ended"))
        self._ports = self._object.map("ports")
        self._placing: libbpf.Map | None = None
        self._attached = False

    @property
    def object(self) -> libbpf.Object:
        """The loaded programs and maps, for test runs."""
        return self._object

    def configure(self, config: SpliceConfig, *, outer: int | None = None, inner: int | None = None) -> None:
        """Write `struct config`. The interface indices are looked up unless given (test runs have none)."""
        if outer is None or inner is None:
            outer, inner = ports.check(config.outer, config.inner)
            for name in () if self._attached else (config.outer, config.inner):
                _noted(name)  # refuses what is not ours, before anything is attached
        self._write_settings(config, outer, inner)

    def _read_slots(self) -> list[bytes]:
        return [self._slots.get(_key(slot)) or b"" for slot in range(abi.MAX_SLOTS)]

    def _write_slot(self, slot: int, row: bytes) -> None:
        self._slots.set(_key(slot), row)

    def _write_vid(self, vid: int, row: bytes) -> None:
        self._vids.set(_key(vid), row)

    def _write_place_table(self, row: bytes) -> None:
        fresh = libbpf.create_array("place_table", len(row), 1)
        try:
            fresh.set(_ZERO, row)
            self._tables.set(_ZERO, _key(fresh.fd))
        except CatenaryError:
            libbpf.close_fd(fresh.fd)
            raise
        self._hold(fresh)

    def _read_place_table(self) -> bytes:
        if self._placing is None:
            self._hold(libbpf.map_by_id(struct.unpack("=I", self._tables.get(_ZERO) or _ZERO)[0]))
        assert self._placing is not None
        return self._placing.get(_ZERO) or b""

    def _hold(self, placing: libbpf.Map | None) -> None:
        """Keep the table in force open: to find it by its number takes rights that a daemon gives up."""
        if self._placing is not None:
            libbpf.close_fd(self._placing.fd)
        self._placing = placing

    def _zero_traffic(self) -> None:
        for kind in range(abi.TRAFFICS):
            self._traffic.set(_key(kind), bytes(self._traffic.row_size))

    def _read_traffic(self) -> Sequence[int]:
        return [int(total) for total in _summed(self._traffic)]

    def _zero_counters(self, slot: int) -> None:
        self._chains.set(_key(slot), bytes(self._chains.row_size))

    def _counters_of(self, slot: int) -> Any:
        return np.frombuffer(self._chains.get(_key(slot)) or b"", dtype=abi.dtype("chain_counters"))

    def _read_probed(self, slot: int) -> Any:
        return abi.unpack("probed", self._probes.get(_key(slot)) or b"")

    def _read_epoch(self) -> int:
        return int(struct.unpack("=I", self._epoch.get(_ZERO) or _ZERO)[0])

    def _write_epoch(self, epoch: int) -> None:
        self._epoch.set(_ZERO, _key(epoch))

    def walk(self) -> dict[int, Load]:
        return self.walk_slots(self._applied)

    def walk_slots(self, slots: Iterable[int]) -> dict[int, Load]:
        """Reclaim what is not in force, and count the rest of these slots."""
        slots = {0, *slots}
        for slot in slots:
            self._walked.set(_key(slot), bytes(self._walked.value_size))
        before = self._tally()
        self._object.program("walk").call()
        rows = {slot: abi.unpack("walk_result", self._walked.get(_key(slot)) or b"") for slot in slots}
        after = self._tally()
        live = after.loads.copy()
        live[list(rows)] = [row.live for row in rows.values()]
        wrong = self._drift.found(before, after, live)
        for slot in (slot for slot in rows if wrong[slot]):
            self._loads.set(_key(slot), struct.pack("=Q", max(self.live(slot) + int(wrong[slot]), 0)))
        return {slot: Load.of(row) for slot, row in rows.items()}

    def _tally(self) -> Tally:
        loads = np.frombuffer(self._loads.values(), dtype=np.int64)
        chains = np.frombuffer(self._chains.values(), dtype=abi.dtype("chain_counters"))
        return Tally(loads, chains["new_sessions"].reshape(len(loads), -1).sum(axis=1, dtype=np.int64))

    def sweep(self, order: Order) -> Swept:
        self._order.set(_ZERO, abi.sweep(order))
        self._object.program("sweep").call()
        done = abi.unpack("sweep", self._order.get(_ZERO) or b"")
        return Swept(int(done.reset), int(done.moved))

    def _settings(self) -> Any:
        return self._config

    def now_ms(self) -> int:
        return self._object.program("clock").call() & 0xFFFFFFFF

    def export(self, since_ms: int | None) -> Iterator[PinRecords]:
        for batch in self.sessions():
            words, keys = batch.pins["word"], batch.keys
            if since_ms is not None:  # first, for few are: keys of another form cost more than to look
                fresh = records.seen_since(words, since_ms)
                words, keys = words[fresh], keys[fresh]
            pins = np.zeros(len(words), dtype=records.RECORD)
            pins["key"], pins["word"] = records.full_keys(keys), words
            yield pins

    def sessions(self, key: SessionKey | None = None) -> Iterator[Batch]:
        if key is not None:
            small = abi.shrink(key)
            at = small or key.pack()
            raw = self._object.map("pins4" if small else "pins6").get(at)
            yield from [_batch(at, raw, len(at))] if raw else []
            return
        for name, size in (("pins4", 16), ("pins6", 48)):
            for keys, values in self._object.map(name).batches(records.FRAME):
                yield _batch(keys, values, size)

    def ended(self, key: SessionKey | None = None) -> ring.Rows:
        return self._ended.rows(key)

    def insert(self, pins: PinRecords) -> int:
        fits, small = records.small_keys(pins)
        values = records.copied(pins, self.now_ms(), self._read_epoch())
        written = self._object.map("pins4").update(small.tobytes(), values[fits].tobytes())
        rest = pins["key"][~fits].tobytes(), values[~fits].tobytes()
        return written + self._object.map("pins6").update(*rest)

    def take_in(self, pins: PinRecords) -> None:
        staged = self._object.map("staged")
        numbers = np.arange(staged.max_entries, dtype=np.uint32).tobytes()
        for first in range(0, len(pins), staged.max_entries):
            rows = np.zeros(staged.max_entries, dtype=records.RECORD)
            part = pins[first : first + staged.max_entries]
            rows[: len(part)] = part
            staged.update(numbers, rows.tobytes())
            self._object.program("take_in_staged").call()

    def pin_of(self, key: SessionKey) -> abi.Pin | None:
        """What the table holds for a session, in force or not."""
        small = abi.shrink(key)
        raw = self._object.map("pins4").get(small) if small else self._object.map("pins6").get(key.pack())
        return abi.Pin.of(raw) if raw else None

    def live(self, slot: int) -> int:
        return int(struct.unpack("=Q", self._loads.get(_key(slot)) or bytes(8))[0])

    def counters(self) -> dict[str, int]:
        total = _summed(self._reasons)
        return {name: int(total[number]) for name, number in abi.REASONS.items()}

    def attach(self) -> None:
        if self._splice is None:
            raise InvalidValue("configure the data plane before it is attached")
        fresh: dict[str, bytes] = {}
        try:
            for program, name in zip(PROGRAMS, (self._splice.outer, self._splice.inner), strict=True):
                key = _key(PROGRAMS.index(program))
                if not is_attached(name):
                    fresh[name] = key
                self._attach(program, key, name)
        except CatenaryError:
            for name, key in fresh.items():  # half a load balancer would be a black hole
                release(name, ports.noted_for(name, self._ports.get(key)))
            raise
        self._attached = True

    def _attach(self, program: str, key: bytes, name: str) -> None:
        noted = ports.noted_for(name, self._ports.get(key)) or _noted(name)
        self._ports.set(key, ports.take(name, ports.QUIET, FLAGS, noted))
        self._object.program(program).bind(self._ports)
        self._object.program(program).attach(ports.interface_index(name))

    def replace(self, outer: str, inner: str) -> dict[str, str]:
        """Put these programs in the place of those that carry packets over the same tables; their tags.

        Each at once, so that every frame meets the old one or the new one. `NotFound` if a port has none,
        `Conflict` if its program works over other tables. If one can't be replaced, neither is.
        """
        with ExitStack() as stack:
            olds: dict[str, tuple[int, libbpf_tc.Attached]] = {}
            for program, name in zip(PROGRAMS, (outer, inner), strict=True):
                index = ports.interface_index(name)
                old = libbpf_tc.attached(index, "ports")
                if old is None:
                    raise NotFound(
                        f"no load balancer's program is on {name}: `catenary lb attach` puts it there"
                    )
                stack.callback(old.close)
                if old.map is None or old.map.id != self._ports.id or old.program.name != program:
                    raise Conflict(
                        f"the program {old.program.name!r} on {name} works over other tables than these"
                    )
                olds[program] = index, old
            try:
                for program, (index, _) in olds.items():
                    self._object.program(program).bind(self._ports)
                    self._object.program(program).attach(index)
            except CatenaryError:
                for index, old in olds.values():
                    old.program.attach(index)
                raise
            return {program: old.program.tag for program, (_, old) in olds.items()}

    def adopted_config(self, ports: tuple[str, str] | None = None) -> SpliceConfig | None:
        """What an earlier process configured, None if none did. A port that is gone has an empty name.

        `ports`: the outer and inner port that it shall have now.
        """
        row = self._settings()
        if not row.outers:
            return None
        config = read_settings(row)
        return replace(config, outer=ports[0], inner=ports[1]) if ports else config

    def detach(self) -> None:
        """Take these programs off, and give the interfaces back; what another one put there stays."""
        for number, program in enumerate(PROGRAMS):
            raw = self._ports.get(_key(number)) or b""
            index = abi.unpack("port_before", raw).ifindex
            if index and libbpf_tc.attached_id(index) == self._object.program(program).id:
                libbpf.detach(index)
                ports.give_back(raw, FLAGS)
        self._attached = False

    def close(self) -> None:
        """Close the descriptors; what is attached or pinned works on."""
        self._ended.close()
        self._hold(None)
        self._object.close()


def _summed(counters: libbpf.Map) -> npt.NDArray[np.uint64]:
    """Each of these numbers, of all CPUs together."""
    rows = np.frombuffer(counters.values(), dtype=np.uint64)
    return np.asarray(rows.reshape(counters.max_entries, -1).sum(axis=1))


def _batch(keys: bytes, values: bytes, size: int) -> Batch:
    rows = np.frombuffer(keys, dtype=np.uint8).reshape(-1, size)
    return Batch(rows, np.frombuffer(values, dtype=records.PIN))


def _check_size(pin: Path, pins: int) -> None:
    """Raise `Conflict` if the table that is pinned there has another size."""
    size = pinned_size(pin)
    if size not in (None, pins):
        raise Conflict(
            f"{pin} holds a session table of {size}, not {pins}: ask for --sessions {size}, "
            f"or `catenary lb detach --pin {pin}` first, which loses its sessions"
        )


def _sizes(pins: int) -> dict[str, int]:
    return {"pins4": pins, "pins6": pins}


def check_layout(pin: Path, program: Path, pins: int, *, whole: bool = False) -> None:
    """Raise `Conflict` if the maps that are pinned there are not such as `program` asks for.

    `whole`: all of them must be there, too.
    """
    for name, wanted in libbpf.layouts(program, max_entries=_sizes(pins)).items():
        found = libbpf.pinned_map(pin / name)
        differs = "is not there" if whole else ""
        if found is not None:
            differs = wanted.against(found.layout)
            libbpf.close_fd(found.fd)
        if differs:
            raise Conflict(
                f"{program} has another layout than what is pinned in {pin}: map {name} {differs}. Keep the "
                f"release that made it, or `catenary lb detach --pin {pin}` first, which loses its sessions"
            )


def _noted(name: str) -> bytes | None:
    """What a data plane of ours on this interface noted, None if there is none; else `Conflict`."""
    index = ports.interface_index(name)
    found = libbpf_tc.attached(index, "ports")
    if found is None:
        for kind, preference in ports.filters(index):
            if preference == libbpf.PREFERENCE and kind != "bpf":  # one preference has filters of one kind
                raise Conflict(
                    f"{name} has a tc filter of somebody else's, {kind}, where ours goes: "
                    f"`tc filter delete dev {name} ingress pref {preference}` removes it"
                )
        return None
    try:
        if found.map is None or found.program.name not in PROGRAMS:
            raise Conflict(
                f"{name} has a tc filter of somebody else's, {found.program.name!r}, where ours goes: "
                f"`tc filter delete dev {name} ingress` removes it"
            )
        return ports.noted_for(name, found.map.get(_key(PROGRAMS.index(found.program.name))))
    finally:
        found.close()


def is_attached(name: str) -> bool:
    """Is a program of ours on this interface? `Conflict` if somebody else's is."""
    return _noted(name) is not None


def release(name: str, noted: bytes | None = None) -> bool:
    """Take our program off an interface and give it back as it was; False if there was nothing to do.

    `noted` is how it was, should the program be gone already.
    """
    attached = _noted(name)
    if attached is not None:
        libbpf.detach(ports.interface_index(name))
    before = attached or noted
    if before is not None:
        ports.give_back(before, FLAGS)
    return before is not None


def pinned_notes(pin: Path) -> dict[str, bytes]:
    """By name, what is noted in a pin folder of those of its interfaces that are still there."""
    found = libbpf.pinned_map(pin / "ports")
    if found is None:
        return {}
    rows = [found.get(_key(number)) or b"" for number in range(len(PROGRAMS))]
    libbpf.close_fd(found.fd)
    named = {ports.interface_name(abi.unpack("port_before", row).ifindex): row for row in rows}
    return {name: row for name, row in named.items() if name is not None}
