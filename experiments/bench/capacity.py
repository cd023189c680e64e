"""Four million sessions in one table: inserted, looked up, walked over, reclaimed when they have expired."""

from __future__ import annotations

import time

from catenary.session import Timeouts
from experiments.bench import packet
from experiments.bench.plan import Plan, Result, figure
from experiments.part import Say
from experiments.summary import Figure
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane

_SPARE = 1000
_SHORT = Timeouts(
    tcp_opening=0.05, tcp_established=0.05, tcp_closing=0.1, udp=0.05, other=0.05, lease=0.0625, transit=0.05
)


def measure(plan: Plan, say: Say) -> Result:
    """By test runs as in `packet`: ns a packet, MiB, ms of CPU time."""
    runs: dict[str, list[float]] = {key: [] for key in _UNITS}
    for number in range(min(plan.rounds, 3)):
        for key, value in _round(plan.sessions).items():
            runs[key].append(value)
        say(f"round {number + 1}: " + ", ".join(f"{key} {values[-1]:.0f}" for key, values in runs.items()))
    figures: dict[str, Figure] = {key: figure(values, _UNITS[key], 1) for key, values in runs.items()}
    return Result(figures, runs=runs)


_UNITS = {
    "insert_4m_ns": "ns",
    "hit_4m_ns": "ns",
    "map_4m_mb": "MiB",
    "ageing_4m_ms": "ms CPU",
    "reclaim_4m_ms": "ms CPU",
}


def _round(sessions: int) -> dict[str, float]:
    with packet.loaded(sessions + _SPARE) as plane:
        found = {
            "insert_4m_ns": float(packet.cost(plane, sessions, sessions)),
            "hit_4m_ns": float(packet.cost(plane, sessions, sessions)),
            "map_4m_mb": packet.memory(plane) / 2**20,
        }
        pins, found["ageing_4m_ms"] = _walk(plane)
        assert pins == sessions, f"{sessions} sessions went in and {pins} have their pin"
        config = SpliceConfig("master", "outer", "inner", 4094, _SHORT)
        plane.configure(config, outer=1, inner=1)
        time.sleep(_SHORT.tcp_established + _SHORT.lease + 2 * _SHORT.transit)
        pins, found["reclaim_4m_ms"] = _walk(plane)
        assert pins == 0, f"{pins} expired pins are still in force"
        return found


def _walk(plane: EbpfDataPlane) -> tuple[int, float]:
    """Pins in force, and the CPU time of the walk in ms."""
    begun = time.process_time()
    loads = plane.walk()
    return sum(load.pins for load in loads.values()), 1000 * (time.process_time() - begun)
