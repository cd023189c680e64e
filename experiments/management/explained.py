"""How long it takes to explain one session among many, with a real controller, switches and pair."""

from __future__ import annotations

import random
import statistics
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catenary import libbpf, wire
from catenary.errors import Unavailable
from catenary.session import End, SessionKey
from experiments.management.plan import Plan
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from lb_adapter import abi, records
from lb_adapter.core.oracle import TCP
from lb_adapter.core.oracle_pin import Pin, State
from lb_adapter.dataplane import ring
from lb_adapter.records import Pins
from topologies.testbed import Testbed

CLAIMS = (Claim("explain_ms", at_most=100),)
CLIENTS, SERVER, PORT = 0x0A010000, 0x0A020001, 80
_PORTS = 50_000
"""Sessions of one client: from the ports 1000 on."""


def measure(plan: Plan, say: Say) -> Part:
    """`explain_ms`: the slowest 1 in 20 is left out. Of the sessions a third is live, ended, or new."""
    with Testbed(sessions=2 * plan.pins) as testbed:
        for number in (1, 2, 3):
            testbed.add_chain([f"n{number}"], name=f"chain-{number}")
        for name, balancer in testbed.balancers.items():
            fill(testbed.pins(name), balancer.pairs(), plan.pins)
        source = random.Random(1)
        first = {"live": 0, "ended": plan.pins, "new": plan.pins + abi.ENDED}
        taken: dict[str, list[float]] = {status: [] for status in first}
        for _ in range(plan.explained):
            for status, numbers in first.items():
                key = session(numbers + source.randrange(min(plan.pins, abi.ENDED)))
                taken[status].append(_timed(testbed, key, status))
    every = sorted(ms for some in taken.values() for ms in some)
    p95 = every[int(0.95 * len(every))]
    medians = {status: round(statistics.median(some), 1) for status, some in taken.items()}
    told = ", ".join(f"{status} {ms:g}" for status, ms in medians.items())
    say(f"{len(every)} sessions explained among {plan.pins}: p95 {p95:.0f} ms; medians: {told}")
    unit = f"ms, p95, {plan.pins} live and {abi.ENDED} ended sessions at each load balancer"
    facts = {f"explain_{status}_p50_ms": ms for status, ms in medians.items()}
    return Part({"explain_ms": Figure(round(p95, 1), unit)}, CLAIMS, facts=facts)


def _timed(testbed: Testbed, key: str, status: str) -> float:
    begun = time.monotonic()
    (told,) = testbed.management.explain(key).segments
    taken = 1000 * (time.monotonic() - begun)
    if told.status != status or told.faults or not (told.forward and told.reverse):
        raise Unavailable(f"session {key} is told to be {told.status}, not {status}: {told.faults}")
    return taken


def session(number: int) -> str:
    """The key of one of those that `fill` writes."""
    client, port = divmod(number, _PORTS)
    ends = End(IPv4Address(CLIENTS + client), 1000 + port), End(IPv4Address(SERVER), PORT)
    return SessionKey.of(*ends, TCP).text


def fill(pins: Path, chain_set: wire.ChainSet, count: int) -> None:
    """Write sessions into a load balancer's pinned maps, on all chains in turns.

    So many established ones go into its table; the next ones fill its ring of those that ended.
    """
    keys = _keys(0, count)
    _write(pins / "pins4", keys.tobytes(), _established(chain_set, keys).tobytes(), count)
    rows = np.zeros(abi.ENDED, dtype=ring.ROW)
    keys = _keys(count, len(rows))
    rows["key"], rows["pin"] = records.full_keys(keys), _established(chain_set, keys)
    rows["number"] = np.arange(1, len(rows) + 1)
    rows["at_ms"], rows["why"] = _now_ms(), abi.ENDINGS.index("expired")
    places = np.arange(len(rows), dtype=np.uint32).tobytes()
    _write(pins / "ended", places, rows.tobytes(), len(rows))
    _write(pins / "ended_count", bytes(4), len(rows).to_bytes(4, sys.byteorder), 1)


def _keys(first: int, count: int) -> npt.NDArray[np.uint8]:
    """Of so many sessions, rows of `struct ipv4_key`."""
    numbers = np.arange(first, first + count, dtype=np.uint32)
    keys = np.zeros(count, dtype=[("low", ">u4"), ("high", ">u4"), ("ports", ">u2", 2), ("kind", "=u4")])
    keys["low"], keys["high"] = CLIENTS + numbers // _PORTS, SERVER
    keys["ports"][:, 0], keys["ports"][:, 1] = 1000 + numbers % _PORTS, PORT
    keys["kind"] = TCP << 24
    return keys.view(np.uint8).reshape(count, -1)


def _established(chain_set: wire.ChainSet, keys: npt.NDArray[np.uint8]) -> Pins:
    now = _now_ms()
    each = [Pin(pair.slot, pair.generation, State.ESTABLISHED, now).word() for pair in chain_set.pairs]
    words = np.array(each, dtype=np.uint64)[np.arange(len(keys)) % len(each)]
    return records.copied(records.of_small(keys.tobytes(), words.tobytes()), now, chain_set.epoch)


def _now_ms() -> int:
    """The data plane's clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000 & 0xFFFFFFFF


def _write(path: Path, keys: bytes, values: bytes, count: int) -> None:
    """So many entries into a pinned map."""
    target = libbpf.pinned_map(path)
    if target is None:
        raise Unavailable(f"{path} is no map")
    written = target.update(keys, values)
    libbpf.close_fd(target.fd)
    if written != count:
        raise Unavailable(f"{written} of {count} sessions found room in {path}")
