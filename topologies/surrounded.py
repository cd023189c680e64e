"""A pair around only a part of the chain: fixed NFs before and after it, which do not scale.

               h3                  n1
                |                 |  |
         h1 --- s1 -------------- s3 -------------- s2 --- h2
              || ||              |  |             || ||
              f1 l1 (master)      n2     (slave) l2 f2

Everything between clients and servers crosses the firewalls f1, then the pair and one of its chains (n1 or
n2), then f2; on the way back the other way round. Switch s1 leads hosts to f1 and f1 to l1, s2 leads l2 to f2
and f2 to the server: no rule of a chain knows of them.

    python -m topologies.surrounded [--shell] [--run-dir DIR]
    mn --custom topologies/surrounded.py --topo surrounded
"""

from __future__ import annotations

from functools import partial

import typer

from catenary.config import SegmentConfig
from topologies import custom, hold
from topologies.blueprint import Blueprint
from topologies.testbed import Testbed

SURROUNDED = Blueprint(
    switches={"s1": 1, "s2": 2, "s3": 3},
    trunks=(("s1", "s3"), ("s3", "s2")),
    hosts={"h1": ("s1", 1), "h2": ("s2", 2), "h3": ("s1", 3)},
    nfs={"n1": "s3", "n2": "s3", "f1": "s1", "f2": "s2"},
    balancers={"l1": "s1", "l2": "s2"},
    segments={"main": SegmentConfig(master="l1", slave="l2", before=["f1"], after=["f2"])},
)

bring_up = partial(Testbed, blueprint=SURROUNDED)
topos, Mininet, findController = custom.for_mn(surrounded=bring_up)  # noqa: N816

if __name__ == "__main__":
    typer.run(hold.command(bring_up))
