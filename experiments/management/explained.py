"""How long it takes to explain one session among many, with a real controller, switches and pair."""

from __future__ import annotations

import random
import statistics
import time
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from catenary import libbpf, wire
from catenary.errors import Unavailable
from catenary.session import End, SessionKey
from experiments.management.plan import Plan, Say
from experiments.part import Part
from experiments.summary import Claim, Figure
from lb_adapter import records
from lb_adapter.core.oracle import TCP
from lb_adapter.core.oracle_pin import Pin, State
from topologies.testbed import Testbed

CLAIMS = (Claim("explain_ms", at_most=100),)
ASKED = 200
CLIENTS, SERVER, PORT = 0x0A010000, 0x0A020001, 80
_PORTS = 50_000
"""Sessions of one client: from the ports 1000 on."""


def measure(plan: Plan, say: Say) -> Part:
    """`explain_ms`: the slowest 1 in 20 is left out. Half of the sessions are there, half would be new."""
    with Testbed(sessions=2 * plan.pins) as testbed:
        for number in (1, 2, 3):
            testbed.add_chain([f"n{number}"], name=f"chain-{number}")
        for name, balancer in testbed.balancers.items():
            fill(testbed.pins(name), balancer.pairs(), plan.pins)
        source = random.Random(1)
        there = [source.randrange(plan.pins) for _ in range(ASKED // 2)]
        keys = [session(number) for number in there]
        keys += [session(plan.pins + number) for number in there]
        taken = [
            _timed(testbed, key, "live" if number < ASKED // 2 else "new") for number, key in enumerate(keys)
        ]
    p50, p95 = statistics.median(taken), sorted(taken)[int(0.95 * len(taken))]
    say(f"{len(taken)} sessions explained among {plan.pins}: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    figures = {"explain_ms": Figure(round(p95, 1), f"ms, p95, {plan.pins} sessions at each load balancer")}
    return Part(figures, CLAIMS, facts={"explain_p50_ms": round(p50, 1)})


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
    """Write so many established sessions into a load balancer's pinned tables, on all chains in turns."""
    table = libbpf.pinned_map(pins / "pins4")
    if table is None:
        raise Unavailable(f"{pins} holds no session table")
    numbers = np.arange(count, dtype=np.uint32)
    keys = np.zeros(count, dtype=[("low", ">u4"), ("high", ">u4"), ("ports", ">u2", 2), ("kind", "=u4")])
    keys["low"], keys["high"] = CLIENTS + numbers // _PORTS, SERVER
    keys["ports"][:, 0], keys["ports"][:, 1] = 1000 + numbers % _PORTS, PORT
    keys["kind"] = TCP << 24
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
    each = [Pin(pair.slot, pair.generation, State.ESTABLISHED, now).word() for pair in chain_set.pairs]
    words = np.array(each, dtype=np.uint64)[numbers % len(chain_set.pairs)]
    rows = np.zeros(count, dtype=records.PIN)
    rows["word"] = words
    rows["check"] = records.checks(records.full_keys(keys.view(np.uint8).reshape(count, 16)))
    written = table.update(keys.tobytes(), rows.tobytes())
    libbpf.close_fd(table.fd)
    if written != count:
        raise Unavailable(f"{written} of {count} sessions found room")
