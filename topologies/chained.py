"""Two pairs in a row (the paper's Fig. 3): each segment has chains of its own and scales by itself.

               h3
                |
         h1 --- s1 ----- s2 ----- s3 ----- s4 ----- s5 --- h2
               |  |     a1 a2    |  ||  |    b1 b2    |  |
         outer |  | inner  inner |  ||  | inner inner |  | outer
               l1                l2  l3               l4
             (master)       (slave)  (master)        (slave)
                `--- segment first --'  `-- segment second --'

On s3 the outer ports of l2 and l3 face each other: what leaves the one segment enters the next, without a
tag. Firewalls a1 and a2 are for chains of `first`, b1 and b2 for those of `second`.

    python -m topologies.chained [--shell] [--run-dir DIR]
    mn --custom topologies/chained.py --topo chained
"""

from __future__ import annotations

from functools import partial

import typer

from catenary.config import SegmentConfig
from topologies import custom, hold
from topologies.blueprint import Blueprint
from topologies.testbed import Testbed

CHAINED = Blueprint(
    switches={"s1": 1, "s2": 2, "s3": 3, "s4": 4, "s5": 5},
    trunks=(("s1", "s2"), ("s2", "s3"), ("s3", "s4"), ("s4", "s5")),
    hosts={"h1": ("s1", 1), "h2": ("s5", 2), "h3": ("s1", 3)},
    nfs={"a1": "s2", "a2": "s2", "b1": "s4", "b2": "s4"},
    balancers={"l1": "s1", "l2": "s3", "l3": "s3", "l4": "s5"},
    segments={
        "first": SegmentConfig(master="l1", slave="l2", ask_id=4094),
        "second": SegmentConfig(master="l3", slave="l4", ask_id=4093),
    },
)

bring_up = partial(Testbed, blueprint=CHAINED)
topos, Mininet, findController = custom.for_mn(chained=bring_up)  # noqa: N816

if __name__ == "__main__":
    typer.run(hold.command(bring_up))
