"""The paper's testbed with a second machine for each load balancer: a standby, for one that dies.

          h1, h3                                         h2
            |                                             |
            s1 ------------- s3 (n1, n2) --------------- s2
          /    \\                                       /    \\
        l1      l3, its standby                     l2      l4, its standby

Nothing is led to l3 until l1's machine is gone; then all that was l1's is. So it is with l4 and l2.

    python -m topologies.spare [--shell] [--run-dir DIR]
    mn --custom topologies/spare.py --topo spare
"""

from __future__ import annotations

from functools import partial

import typer

from catenary.config import SegmentConfig
from topologies import custom, hold
from topologies.blueprint import Blueprint
from topologies.testbed import Testbed

SPARE = Blueprint(
    switches={"s1": 1, "s2": 2, "s3": 3},
    trunks=(("s1", "s3"), ("s3", "s2")),
    hosts={"h1": ("s1", 1), "h2": ("s2", 2), "h3": ("s1", 3)},
    nfs={"n1": "s3", "n2": "s3"},
    balancers={"l1": "s1", "l2": "s2", "l3": "s1", "l4": "s2"},
    segments={"main": SegmentConfig(master="l1", slave="l2")},
    standbys={"l3": "l1", "l4": "l2"},
)

bring_up = partial(Testbed, blueprint=SPARE)
topos, Mininet, findController = custom.for_mn(spare=bring_up)  # noqa: N816

if __name__ == "__main__":
    typer.run(hold.command(bring_up))
