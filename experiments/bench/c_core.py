"""What one packet costs the C core of the user-space data planes, without any I/O."""

from __future__ import annotations

import numpy as np

from catenary.chain import PairState
from catenary.session import Timeouts
from catenary.tags import TagPair
from experiments.bench.packet import FRAME
from experiments.bench.plan import Plan, Result, figure
from experiments.part import Say
from experiments.summary import Claim
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.segment import ffi

_SESSIONS = {"c_hit_100k_ns": 100_000, "c_hit_1m_ns": 1_000_000}
_LIMITS = {"c_hit_100k_ns": 60, "c_hit_1m_ns": 100}
_BATCH = 64


def measure(plan: Plan, say: Say) -> Result:
    """ns a packet, whole splice with tag push, sessions in random order, in batches as in the worker."""
    runs: dict[str, list[float]] = {key: [] for key in _SESSIONS}
    for number in range(plan.rounds):
        for key, sessions in _SESSIONS.items():
            runs[key].append(_hit(min(sessions, plan.million)))
        say(f"round {number + 1}: " + ", ".join(f"{key} {values[-1]:.1f}" for key, values in runs.items()))
    figures = {key: figure(values, "ns", 1) for key, values in runs.items()}
    claims = tuple(Claim(key, at_most=limit) for key, limit in _LIMITS.items())
    return Result(figures, claims=claims, runs=runs)


def _hit(sessions: int) -> float:
    plane = NativeDataPlane("af_packet", pins=sessions + 1000)
    try:
        plane.configure(SpliceConfig("master", "outer", "inner", 4094, Timeouts()), outer=1, inner=2)
        rows = [Pair(TagPair(2 + 2 * i, 3 + 2 * i), i, 1, 100, 100, PairState.ACTIVE, 0.0) for i in range(3)]
        plane.apply(ChainTable(1, tuple(rows), {row.slot: 1 for row in rows}))

        def run(packets: int, *, in_order: bool) -> float:
            batches = -(-packets // _BATCH)
            taken = ffi.new("uint32_t[]", batches)
            plane.segment.lib.splice_time(
                plane.segment.pointer, FRAME, len(FRAME), sessions, batches, _BATCH, in_order, taken
            )
            times = np.frombuffer(ffi.buffer(taken), dtype=np.uint32)
            # The median of the batches: in the time of a few of them, another process had the core.
            return float(np.median(times)) / _BATCH

        run(sessions, in_order=True)
        placed = plane.counters()["session_placed"]
        assert placed == sessions, f"of {sessions} sessions {placed} have their pin"
        return run(2 * sessions, in_order=False)
    finally:
        plane.close()
