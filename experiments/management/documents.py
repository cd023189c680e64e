"""The configurations of the experiment, as data: many chains in many segments, and changes of them. Pure.

Segment n has a pair of its own on two switches of its own, where its NFs hang too; each chain crosses one NF.
"""

from __future__ import annotations

from typing import Any

from catenary.config import ChainConfig, ServiceConfig
from catenary.errors import InvalidValue

CONTROLLER = "127.0.0.1"
ASK_IDS = 4094
"""The ask IDs of segments, from here downwards; the tags of chains come from the other end."""


def many(chains: int, segments: int, *, spare: int = 0, port: int = 8090) -> ServiceConfig:
    """So many chains, spread evenly, and `spare` NFs without one in each segment.

    The controller listens on `port` of 127.0.0.1, master n on 127.0.1.n, slave n on 127.0.2.n.
    """
    each, left = divmod(chains, segments)
    if left or not each:
        raise InvalidValue(f"{chains} chains can't be spread evenly over {segments} segments")
    said: dict[str, Any] = {"switches": {}, "nfs": {}, "balancers": {}, "segments": {}, "chains": {}}
    said |= {"controller_url": f"http://{CONTROLLER}:{port}"}
    for number in range(1, segments + 1):
        name, left_side, right_side = segment_name(number), f"a{number}", f"b{number}"
        said["switches"] |= {left_side: 2 * number - 1, right_side: 2 * number}
        for side, (role, switch) in enumerate((("master", left_side), ("slave", right_side)), 1):
            balancer = f"{role}-{number}"
            said["balancers"][balancer] = {
                "switch": switch,
                "outer": f"{balancer}-outer",
                "inner": f"{balancer}-inner",
                "url": f"http://127.0.{side}.{number}:{port}",
            }
        said["segments"][name] = {
            "master": f"master-{number}",
            "slave": f"slave-{number}",
            "ask_id": ASK_IDS - number + 1,
        }
        for index in range(1, each + spare + 1):
            nf = nf_name(number, index)
            said["nfs"][nf] = {"switch": left_side, "ingress": f"{nf}-in", "egress": f"{nf}-out"}
        for index in range(1, each + 1):
            said["chains"][chain_name(number, index)] = {"nfs": [nf_name(number, index)], "segment": name}
    return ServiceConfig.model_validate(said)


def segment_name(segment: int) -> str:
    return f"segment-{segment}"


def chain_name(segment: int, index: int) -> str:
    return f"chain-{segment}-{index}"


def nf_name(segment: int, index: int) -> str:
    return f"nf-{segment}-{index}"


def turned(config: ServiceConfig) -> ServiceConfig:
    """In every segment the first chain goes, one comes on a spare NF, and the last one weighs half."""
    chains = dict(config.chains)
    used = {nf for chain in chains.values() for nf in chain.nfs}
    for segment, pair in config.segments.items():
        own = [name for name, chain in chains.items() if config.segment_of(chain) == segment]
        here = config.balancers[pair.master].switch
        spare = [name for name, nf in config.nfs.items() if nf.switch == here and name not in used]
        if len(own) < 2 or not spare:
            raise InvalidValue(f"segment {segment!r} has no chain to lose, or no NF for another")
        last = chains[own[-1]]
        chains[own[-1]] = last.model_copy(update={"weight": last.weight // 2})
        del chains[own[0]]
        chains[f"{own[0]}-anew"] = ChainConfig(nfs=[spare[0]], segment=segment)
    return config.model_copy(update={"chains": chains})
