"""One pair and room for many chains: every NF is a wire, which the switch treats like any other.

                    n1 n2 n3 ...
                     || || ||
         h1 --- s1 ---- s3 ---- s2 --- h2
               || |             | ||
               || `-------------' ||
               l1 (master)        l2 (slave)

All NFs hang on s3, with two ports each. A wire does nothing to packets and costs no process, so hundreds of
chains fit on one machine; switches, rules, load balancers and the traffic are real.
"""

from __future__ import annotations

from catenary.config import SegmentConfig
from topologies.blueprint import Blueprint


def wide(chains: int) -> Blueprint:
    """With so many NFs: `n1`, `n2`, ..."""
    return Blueprint(
        switches={"s1": 1, "s2": 2, "s3": 3},
        trunks=(("s1", "s3"), ("s3", "s2"), ("s1", "s2")),
        hosts={"h1": ("s1", 1), "h2": ("s2", 2)},
        nfs={},
        wires={f"n{number}": "s3" for number in range(1, chains + 1)},
        balancers={"l1": "s1", "l2": "s2"},
        segments={"main": SegmentConfig(master="l1", slave="l2")},
    )
