"""A change of a large chain set: how soon a packet crosses a new chain, and that none sees half of it."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from catenary import libbpf, wire
from catenary.chain import PairState
from catenary.errors import Unavailable
from catenary.tags import TagPair
from experiments.bench import packet
from experiments.bench.net import CLIENT, SERVER, Network
from experiments.bench.pair import Pair as Balancers
from experiments.bench.pair import pair
from experiments.bench.paths import blast
from experiments.bench.plan import Plan, Result, figure
from experiments.part import Say
from experiments.summary import Claim, Figure
from lb_adapter import abi, records
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from topologies.patience import PATIENCE_S

_RATE = 10_000
"""New sessions a second while the set changes."""
_NO_REUSE = 100_000_000
_WEIGHT = 1000
"""Of the new chain, ten times the others': so that the next session or so goes there, and what is measured is
the switch, not the wait for a session that the hash gives to one chain of 256."""
_MIXED = "packets placed by a mixture of two tables"


def measure(plan: Plan, say: Say) -> Result:
    """`switch_256_ms`: from the request of a change (one chain added, one removed) to the first packet."""
    times = _switches(plan)
    say(f"{plan.chains} chains: " + " ".join(f"{value:.1f}" for value in times) + " ms")
    placed, swaps, mixed = mixtures(plan.swap_seconds)
    say(f"{placed} sessions placed during {swaps} swaps of the table, {mixed} of them by two tables")
    figures = {"switch_256_ms": figure(times, "ms", 1)}
    ratios = {
        _MIXED: Figure(mixed, "sessions"),
        "sessions placed while tables were swapped": Figure(placed, "sessions"),
        "swaps of the table": Figure(swaps, "swaps"),
    }
    claims = (Claim("switch_256_ms", at_most=200), Claim(_MIXED, at_least=0, at_most=0))
    return Result(figures, ratios, claims, {"switch_256_ms": times})


def _pairs(first: int, count: int) -> list[TagPair]:
    return [TagPair(first + 2 * i, first + 2 * i + 1) for i in range(count)]


def _switches(plan: Plan) -> list[float]:
    old, new = _pairs(2, plan.chains), _pairs(2 + 2 * plan.chains, plan.changes)
    with Network() as network:
        network.bumps()
        with pair(network, chains=old) as balancers, _sessions(network):
            return [_switch(balancers, add, remove) for add, remove in zip(new, old, strict=False)]


@contextmanager
def _sessions(network: Network) -> Iterator[None]:
    """New sessions from the client at a rate, until the block ends."""
    network.drop_all(network.server)
    sender = blast(network.client, CLIENT, SERVER, sessions=_NO_REUSE, rate=_RATE, seconds=3600)
    try:
        yield
    finally:
        sender.kill()
        sender.wait()


def _switch(balancers: Balancers, add: TagPair, remove: TagPair) -> float:
    """Milliseconds from the request until the new chain's tag is on the wire."""
    change = wire.Change(
        add=[wire.PairAdd(forward=add.forward, reverse=add.reverse, weight=_WEIGHT)],
        remove=[wire.Tags.of(remove)],
    )
    with _listener("l2i", add.forward) as seen, ThreadPoolExecutor(1) as other:
        begun = time.monotonic()
        request = other.submit(balancers.master.change, change)
        try:
            seen.recv(64)
        except TimeoutError:
            request.result()
            raise Unavailable(f"no packet with tag {add.forward} within {PATIENCE_S:g} s") from None
        took = time.monotonic() - begun
        request.result()
    return 1000 * took


def _listener(link: str, vid: int) -> socket.socket:
    """A packet socket that takes nothing but frames with this tag (the kernel filters them)."""
    vlan_tag = 0xFFFFF000 + 44  # SKF_AD_OFF + SKF_AD_VLAN_TAG
    program = [
        (0x20, 0, 0, vlan_tag),  # load it
        (0x54, 0, 0, 0x0FFF),  # its ID
        (0x15, 0, 1, vid),
        (0x06, 0, 0, 64),
        (0x06, 0, 0, 0),
    ]
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = bytearray(code)
    address = (np.frombuffer(buffer, dtype=np.uint8)).ctypes.data
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    listener.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", len(program), address))  # SO_ATTACH_FILTER
    listener.settimeout(PATIENCE_S)
    listener.bind((link, 0x0003))
    return listener


# How a mixture shows. Four chains; table A has 0 and 1 in its even and odd entries, B has 2 and 3. The loads
# stand so far apart that p2c's answer is known: 1 beats 0, 2 beats 3, and 3 beats 0, 2 beats 1. A packet that
# reads its first lane from A (0) and its second from B (3) answers 3, which neither table alone does. The
# other way round can't be told from B; it is the same reading, so one of the two will do.
_LOADS = (1 << 30, 1 << 27, 1 << 10, 1 << 24)
_KEYS = 400_000
_SWAPPERS = 16


def mixtures(seconds: float) -> tuple[int, int, int]:
    """(sessions placed, swaps, sessions placed by two tables): swaps on one CPU, packets on another."""
    placed = swaps = mixed = 0
    deadline = time.monotonic() + seconds
    while not placed or time.monotonic() < deadline:
        keys = min(_KEYS, int(seconds * 400_000))
        with packet.loaded(keys + 1000) as plane, _tables() as tables:
            rows = [
                Pair(tags, slot, 1, 100, 100, PairState.ACTIVE, 0.0) for slot, tags in enumerate(_pairs(2, 4))
            ]
            plane.apply(ChainTable(2, tuple(rows), {row.slot: 1 for row in rows}))
            plane.object.map("table").set(bytes(4), struct.pack("=I", tables[0].fd))
            for slot, load in enumerate(_LOADS):
                plane.object.map("loads").set(struct.pack("=I", slot), struct.pack("=Q", load))
            swaps += _place_while_swapping(plane, tables, keys)
            slots, answers = _placements(plane)
            placed += len(slots)
            mixed += int((answers != slots[:, None]).all(axis=1).sum())
    return placed, swaps, mixed


@contextmanager
def _tables() -> Iterator[list[libbpf.Map]]:
    """A and B as maps; closed at the end, when the map of maps holds the one in use."""
    made = []
    for number in range(2):
        raw = bytearray(abi.ffi.sizeof("struct place_table"))
        item = abi.ffi.from_buffer("struct place_table *", raw)
        item.epoch = number
        item.bypass = abi.NO_SLOT
        entries = np.arange(abi.TABLE_SIZE, dtype=np.uint16) % 2 + 2 * number
        abi.ffi.buffer(item.entries)[:] = entries.astype(np.uint16).tobytes()
        table = libbpf.create_array("place_table", len(raw), 1)
        table.set(bytes(4), bytes(raw))
        made.append(table)
    try:
        yield made
    finally:
        for table in made:
            libbpf.close_fd(table.fd)


def _place_while_swapping(plane: EbpfDataPlane, tables: Sequence[libbpf.Map], keys: int) -> int:
    """The number of swaps. Each waits until no CPU uses the old table, so several threads swap at once."""
    table = plane.object.map("table")

    def swap(thread: int) -> int:
        swaps = 0
        while not placing.done():
            swaps += 1
            table.set(bytes(4), struct.pack("=I", tables[(thread + swaps) % 2].fd))
        return swaps

    with ThreadPoolExecutor(1 + _SWAPPERS) as threads:
        placing = threads.submit(packet.cost, plane, keys, keys)
        swaps = sum(threads.map(swap, range(_SWAPPERS)))
        placing.result()
    return swaps


def _placements(plane: EbpfDataPlane) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The slot of every pin, and (pins x 2) what the tables A and B alone would have answered."""
    rows = [
        (np.frombuffer(keys, np.uint32).reshape(-1, 4), np.frombuffer(values, records.PIN)["word"])
        for keys, values in plane.object.map("pins4").batches()
    ]
    small = np.concatenate([keys for keys, _ in rows])
    words = np.concatenate([values for _, values in rows])
    hashes = _hashes(small)
    first, second = _index(hashes) % 2, _index(_second_lane(hashes)) % 2
    answers = np.stack([np.where(first == second, first, 1), np.where(first == second, first + 2, 2)], axis=1)
    return (words >> np.uint64(32) & np.uint64(0x3FF)).astype(np.int64), answers.astype(np.int64)


def _hashes(small: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """`hash_key` of core/key.h, over rows of `struct ipv4_key` as `struct session_key`."""
    mapped = np.full(len(small), 0xFFFF0000, dtype=np.uint64)
    zero = np.zeros(len(small), dtype=np.uint64)
    low, high, ports, tags = (small[:, i].astype(np.uint64) for i in range(4))
    kind = tags >> np.uint64(24)
    words = (zero, zero, mapped, low, zero, zero, mapped, high, ports, zero, kind, zero)
    value = np.full(len(small), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for word in words:
        value = (value ^ word) * np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(32)
    return value


def _second_lane(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    lane = hashes * np.uint64(0x9E3779B97F4A7C15)
    return lane ^ lane >> np.uint64(29)


def _index(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return (hashes >> np.uint64(32)) * np.uint64(abi.TABLE_SIZE) >> np.uint64(32)
