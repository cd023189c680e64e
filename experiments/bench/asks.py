"""In-band asks: how many sessions a second servers may open, and how much later their first packet comes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from catenary.errors import Unavailable
from experiments.bench.net import ADDRESS, CLIENT, SERVER, Network, built
from experiments.bench.pair import Pair, pair
from experiments.bench.paths import blast
from experiments.bench.plan import Plan, Result, figure
from experiments.part import Say
from experiments.summary import Claim
from topologies.patience import PATIENCE_S

_PORT = 7007
_LOST_NS = 1e9
"""What an exchange that lost a packet counts as: how long the prober waits."""
_NO_REUSE = 100_000_000
"""Sessions of blast: more than it sends frames."""
_TABLE = "--sessions 2000000"
_URGENT = ("nice", "-n", "-20")
"""Both ends poll: what else runs must not take their cores in between."""


def measure(plan: Plan, say: Say) -> Result:
    """`ask_per_s`: of a flood in which each frame opens a session, those that came through, a second.

    `ask_extra_rtt`: p99 of (first exchange - second exchange) over the median of the second ones.
    """
    rates, extras, trips = [], [], []
    for number in range(plan.rounds):
        with Network() as network:
            network.bumps()
            with pair(network, master=_TABLE, slave=_TABLE) as balancers:
                extra, trip = _probe(network, balancers, plan.ask_sessions)
                rate = _flood(network, balancers, plan.seconds)
        say(f"round {number + 1}: {rate:.0f} asks/s; p99 of the extra delay {extra:.2f} x {trip:.1f} us")
        rates.append(rate)
        extras.append(extra)
        trips.append(trip)
    figures = {
        "ask_per_s": figure(rates, "sessions/s", 0),
        "ask_extra_rtt": figure(extras, "round trips, p99"),
    }
    claims = (Claim("ask_per_s", at_least=100_000), Claim("ask_extra_rtt", at_most=3))
    ratios = {"round trip of the ask's path": figure(trips, "us", 1)}
    return Result(figures, ratios, claims, {"ask_per_s": rates, "ask_extra_rtt": extras})


def _flood(network: Network, balancers: Pair, seconds: float) -> float:
    """Sessions a second that asked, were answered and came out at the client, each with one packet."""
    network.drop_all(network.client)
    master, slave = balancers.counters()
    before, begun = network.received(network.client), time.monotonic()
    sender = blast(network.server, SERVER, CLIENT, sessions=_NO_REUSE, seconds=seconds)
    if sender.wait() != 0:
        raise Unavailable("the sender of sessions has failed: see above")
    crossed, took = network.received(network.client) - before, time.monotonic() - begun
    at_master, at_slave = balancers.counters()
    answered = at_master["ask_answered"] - master["ask_answered"]
    taken = at_slave["answer_taken"] - slave["answer_taken"]
    return min(crossed, answered, taken) / took


def _probe(network: Network, balancers: Pair, sessions: int) -> tuple[float, float]:
    """p99 of the extra delay in round trips, and the median round trip in us."""
    before = balancers.counters()[1]["ask_sent"]
    with _echo(network):
        command = [*_URGENT, str(built("probe")), "ask", ADDRESS[CLIENT], str(_PORT), str(sessions)]
        lines = network.server.run(command, timeout=PATIENCE_S)
    asked = balancers.counters()[1]["ask_sent"] - before
    values = np.array([line.split() for line in lines.splitlines()], dtype=float)
    if asked < sessions:
        raise Unavailable(f"of {sessions} sessions only {asked} asked: nothing to compare")
    values[values < 0] = _LOST_NS
    trip = float(np.median(values[:, 1]))
    extra = float(np.percentile(values[:, 0] - values[:, 1], 99))
    return extra / trip, trip / 1000


@contextmanager
def _echo(network: Network) -> Iterator[None]:
    process = network.client.popen(
        [*_URGENT, str(built("probe")), "echo", str(_PORT)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None, "it is a pipe"
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
