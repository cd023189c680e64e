"""A plain chain that carries traffic, and a pair that is inserted around it (the paper's Fig. 1 to Fig. 2).

               h3                n1
                |                |  |
         h1 --- s1 ------------- s3 --------------- s2 --- h2
               |  |                                |  |
               |  +------------- s4 ---------------+  |
         outer | inner           |  |           outer | inner
               l1 (master)       n2                   l2 (slave)

The load balancers are wired, but not in the way: what s1 and s2 get from hosts they send into the one chain
by themselves. `catenary chain add --nf n1` adds that chain, `catenary segment insert main` leads the traffic
through the pair.

    python -m topologies.insertion [--shell] [--run-dir DIR]
    mn --custom topologies/insertion.py --topo insertion
"""

from __future__ import annotations

from functools import partial

import typer

from catenary.config import SegmentConfig
from topologies import custom, hold
from topologies.blueprint import Blueprint
from topologies.testbed import Testbed

INSERTION = Blueprint(
    switches={"s1": 1, "s2": 2, "s3": 3, "s4": 4},
    trunks=(("s1", "s3"), ("s3", "s2"), ("s1", "s4"), ("s4", "s2")),
    hosts={"h1": ("s1", 1), "h2": ("s2", 2), "h3": ("s1", 3)},
    nfs={"n1": "s3", "n2": "s4"},
    balancers={"l1": "s1", "l2": "s2"},
    segments={"main": SegmentConfig(master="l1", slave="l2", inserted=False)},
)

bring_up = partial(Testbed, blueprint=INSERTION)
topos, Mininet, findController = custom.for_mn(insertion=bring_up)  # noqa: N816

if __name__ == "__main__":
    typer.run(hold.command(bring_up))
