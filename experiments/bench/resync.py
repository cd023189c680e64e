"""A master that lost its session table: how long until it has copied its slave's and places again."""

from __future__ import annotations

import time

from catenary.errors import Unavailable
from experiments.bench.net import CLIENT, SERVER, Network
from experiments.bench.pair import Pair, pair
from experiments.bench.paths import blast
from experiments.bench.plan import Plan, Result, figure
from experiments.part import Say
from experiments.summary import Claim
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

ROOM = 1.25
"""Of the table, over the sessions: below the share at which it overflows."""


def measure(plan: Plan, say: Say) -> Result:
    """`resync_1m_s`: from the start of a master's process to its first placement; the sessions go on in their
    chains meanwhile, from the server's side, and its clients' packets are dropped.
    """
    taken = []
    table = f"--sessions {round(plan.million * ROOM)}"
    for number in range(plan.rounds):
        with Network() as network:
            network.bumps()
            with pair(network, master=table, slave=table) as balancers:
                known = fill(network, balancers, plan.million)
                taken.append(lose_master(balancers, known))
        say(f"round {number + 1}: {known} sessions in {taken[-1]:.2f} s")
    figures = {"resync_1m_s": figure(taken, "s")}
    return Result(figures, {}, (Claim("resync_1m_s", at_most=5),), {"resync_1m_s": taken})


def fill(network: Network, balancers: Pair, sessions: int, patience: float = PATIENCE_S) -> int:
    """One frame of each session through the pair, so that both know it; how many the slave knows then."""
    network.drop_all(network.server)

    def known() -> int:
        return balancers.slave.stats().pins

    sender = blast(network.client, CLIENT, SERVER, sessions=sessions, seconds=patience)
    try:
        wait_until(lambda: known() > 0.99 * sessions, "a full table", patience, interval=0.5)
    finally:
        sender.kill()
        sender.wait()
    return known()


def lose_master(balancers: Pair, known: int, patience: float = PATIENCE_S) -> float:
    """Without `--pin` all that it has ends with its process. Seconds from the start of the next one."""
    balancers.services.stop("master")
    begun = time.monotonic()
    balancers.services.restart("master", wait=False)
    wait_until(balancers.connected, "the copy", patience, interval=0.01)
    took = time.monotonic() - begun
    copied = balancers.master.stats().pins
    if copied < 0.99 * known:
        raise Unavailable(f"of {known} sessions only {copied} were copied")
    return took
