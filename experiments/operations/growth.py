"""A pair with more and more sessions: what it takes of memory, and of time to go over all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from catenary.errors import CatenaryError
from catenary.tags import TagPair
from experiments.bench.net import Network
from experiments.bench.pair import ASK, CHAINS, Pair, pair
from experiments.bench.resync import ROOM, fill, lose_master
from experiments.operations.plan import Plan
from experiments.part import Part, Say
from experiments.summary import Figure

_TIMES = 5
_LONGEST_S = 180.0
"""How long a full table is waited for, and a copy of it."""
UNITS = {
    "maps_mb": "MiB",
    "process_mb": "MiB",
    "peak_mb": "MiB",
    "count_ms": "ms",
    "page_ms": "ms",
    "rates_ms": "ms",
    "change_ms": "ms",
    "copy_s": "s",
}


def measure(plan: Plan, say: Say) -> Part:
    """`growth_SIZE_WHAT` for each size, of the master: all maps; its process, before and at most in a copy;
    a count of each chain's sessions; a page of the list, by age and by rate; a chain that comes; a copy.
    """
    figures: dict[str, Figure] = {}
    for size in plan.sizes:
        found: dict[str, float] = {}
        try:
            _grow(size, found)
        except CatenaryError as error:  # what smaller ones have shown is not lost
            say(error.detail)
        say(f"{size} sessions: " + ", ".join(f"{what} {value:.4g}" for what, value in found.items()))
        for what, unit in UNITS.items():
            value = round(found[what], 2) if what in found else None
            figures[f"growth_{short(size)}_{what}"] = Figure(value, unit)
    return Part(figures, ())


def short(size: int) -> str:
    """10000 -> 10k."""
    return f"{size // 10**6}m" if size % 10**6 == 0 else f"{size // 1000}k"


def _grow(size: int, found: dict[str, float]) -> None:
    # Sessions live until all is measured, however slow the machine is.
    table = f"--sessions {round(size * ROOM)}"
    with Network() as network:
        network.bumps()
        with pair(network, master=f"{table} --udp 3600", slave=table) as lbs:
            known = fill(network, lbs, size, _LONGEST_S)
            found["maps_mb"] = _maps(lbs.services.pid("master"))
            found["process_mb"] = _process(lbs.services.pid("master"), "VmRSS")
            found["count_ms"] = _median(lambda: lbs.master.stats())
            found["page_ms"] = _median(lambda: lbs.master.list_sessions(limit=100))
            found["rates_ms"] = _median(lambda: lbs.master.list_sessions(limit=100, sort="rate"))
            found["change_ms"] = _change(lbs)
            found["copy_s"] = lose_master(lbs, known, _LONGEST_S)
            found["peak_mb"] = _process(lbs.services.pid("master"), "VmHWM")


def _median(work: Callable[[], object]) -> float:
    """ms."""
    taken = []
    for _ in range(_TIMES):
        begun = time.monotonic()
        work()
        taken.append(1000 * (time.monotonic() - begun))
    return statistics.median(taken)


def _change(lbs: Pair) -> float:
    """From the request of another chain until master and slave know it, ms."""
    tags = iter(range(2 * len(CHAINS) + 2, ASK, 2))

    def one_more() -> None:
        forward = next(tags)
        lbs.add([TagPair(forward, forward + 1)])

    return _median(one_more)


def _maps(pid: int) -> float:
    """What the kernel charges for all maps that a process holds, MiB."""
    found: dict[str, int] = {}
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        words = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        if "map_id" in words:
            found[words["map_id"]] = int(words["memlock"])
    return sum(found.values()) / 2**20


def _process(pid: int, what: str) -> float:
    """Of its memory, `VmRSS`, or `VmHWM`: the most that it ever was, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{what}:"))) / 1024
