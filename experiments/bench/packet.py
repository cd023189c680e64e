"""What one packet costs: nanoseconds by BPF_PROG_TEST_RUN, the size of the table, and the walk over it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catenary.chain import PairState
from catenary.libbpf_abi import BpfError
from catenary.session import Timeouts
from catenary.tags import TagPair
from experiments.bench.plan import Plan, Result, figure
from experiments.part import Say
from experiments.summary import Claim
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane

OBJECT = Path(__file__).parent / "bpf" / "packet.bpf.o"
FRAME = (
    bytes.fromhex("020000000002 020000000001 0800")
    + bytes.fromhex("45000028 00000000 40060000 0a000000 0a800001")
    + bytes.fromhex("03e80050 00000000 00000000 50100000 00000000")
)
"""An ACK of 54 bytes; the source address is set by the program for every repetition."""
_UNITS = {
    "ebpf_hit_ns": "ns",
    "ebpf_new_ns": "ns",
    "ebpf_hit_1m_ns": "ns",
    "map_1m_mb": "MiB",
    "ageing_1m_ms": "ms CPU",
}
_LIMITS = {
    "ebpf_hit_ns": 120,
    "ebpf_new_ns": 700,
    "ebpf_hit_1m_ns": 350,
    "map_1m_mb": 130,
    "ageing_1m_ms": 250,
}


@contextmanager
def loaded(pins: int, policy: str = "p2c") -> Iterator[EbpfDataPlane]:
    """A master with three chains and room for `pins` sessions."""
    plane = EbpfDataPlane(pins=pins, program=OBJECT)
    config = SpliceConfig("master", "outer", "inner", 4094, Timeouts(), policy=policy)  # type: ignore[arg-type]
    plane.configure(config, outer=1, inner=1)
    pairs = [Pair(TagPair(2 + 2 * i, 3 + 2 * i), i, 1, 100, 100, PairState.ACTIVE, 0.0) for i in range(3)]
    plane.apply(ChainTable(1, tuple(pairs), dict.fromkeys(range(3), 1)))
    try:
        yield plane
    finally:
        plane.close()


def cost(plane: EbpfDataPlane, span: int, repeat: int, first: int = 0) -> int:
    """Mean ns of `repeat` packets, over the addresses `first` .. `first + span`."""
    plane.object.map("knobs").set(bytes(4), struct.pack("=II", first + span, first))
    return plane.object.program("repeat_outer").run(FRAME, repeat=repeat).duration_ns


def measure(plan: Plan, say: Say) -> Result:
    """`ebpf_hit_ns`, `ebpf_new_ns`, `ebpf_hit_1m_ns`, `map_1m_mb`, `ageing_1m_ms`."""
    runs: dict[str, list[float]] = {key: [] for key in _UNITS}
    for number in range(plan.rounds):
        for key, value in _round(plan.million).items():
            runs[key].append(value)
        say(f"round {number + 1}: " + ", ".join(f"{key} {values[-1]:.0f}" for key, values in runs.items()))
    figures = {key: figure(values, _UNITS[key], 1) for key, values in runs.items()}
    claims = tuple(Claim(key, at_most=limit) for key, limit in _LIMITS.items())
    return Result(figures, claims=claims, runs=runs)


def _round(million: int) -> dict[str, float]:
    with loaded(million + 1000) as plane:
        cost(plane, 1, 1000)
        found = {
            "ebpf_hit_ns": float(cost(plane, 1, million)),
            "ebpf_new_ns": float(cost(plane, million - 1, million - 1, first=1)),
            "ebpf_hit_1m_ns": float(cost(plane, million, million)),
            "map_1m_mb": memory(plane) / 2**20,
        }
        begun = time.process_time()
        loads = plane.walk()
        found["ageing_1m_ms"] = 1000 * (time.process_time() - begun)
        assert sum(load.pins for load in loads.values()) == million, "every session has its pin"
    return found


def memory(plane: EbpfDataPlane) -> int:
    """Bytes that the kernel charges for the table of IPv4 sessions."""
    fd = plane.object.map("pins4").fd
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    raise BpfError("fdinfo of a map has no memlock", 0)
