"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass

from catenary.health import OnDead
from experiments.operations import synflood


@dataclass(frozen=True)
class Plan:
    """`chain_falls`: so many chains die, one after the other, by each check and each of the `policies`.

    The leader of two management systems is killed `ms_failovers` times, and a master, and a slave, with
    `lb_sessions` `lb_failovers` times. The load of a segment that scales by itself rises and falls
    `autoscale_cycles` times, for each provisioner. A pair grows to as many sessions as the `sizes` say, and
    gets a `flood` of SYNs.
    """

    chain_falls: int
    policies: tuple[OnDead, ...]
    ms_failovers: int
    lb_failovers: int
    lb_sessions: int
    autoscale_cycles: int
    sizes: tuple[int, ...]
    flood: synflood.Flood


FULL = Plan(
    chain_falls=8,
    policies=("keep", "rebalance", "reset"),
    ms_failovers=10,
    lb_failovers=5,
    lb_sessions=100_000,
    autoscale_cycles=3,
    sizes=(10_000, 100_000, 1_000_000, 4_000_000),
    flood=synflood.FULL,
)
QUICK = Plan(
    chain_falls=1,
    policies=("reset",),
    ms_failovers=1,
    lb_failovers=1,
    lb_sessions=2000,
    autoscale_cycles=1,
    sizes=(10_000,),
    flood=synflood.QUICK,
)
