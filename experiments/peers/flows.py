"""OpenFlow rules by which Open vSwitch spreads sessions by itself. Pure: chains in, lines of a bundle out.

One bridge stands for each load balancer: port 1 is its outer port, port 2 its inner one. Tables:

    0  from a chain: pop the tag, deliver; from outside: choose
    1  what was chosen -> slot of a chain (reg0)
    2  slot -> the tag that this end pushes, to the inner port
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from experiments.evaluation.play import TIMEOUTS
from experiments.peers.balancing import CHAINS, Chain

OUTER, INNER = 1, 2
LEARNED_S = round(TIMEOUTS.tcp_established)
"""Idle time of a learned session: that of Algorithm 1's table, and what Catenary promises here."""


def push(*, forward: bool) -> Iterator[str]:
    """Table 2, for all chains: it stays as it is when chains come and go."""
    for chain in CHAINS:
        tag = chain.tags.forward if forward else chain.tags.reverse
        actions = f"push_vlan:0x8100,set_field:{4096 + tag}->vlan_vid,output:{INNER}"
        yield f"flow add table=2,reg0={chain.slot},actions={actions}"


# -- multipath ---------------------------------------------------------------------------------------------


def multipath() -> Iterator[str]:
    """What a bridge has from the start."""
    yield f"flow add table=0,in_port={INNER},vlan_tci=0x1000/0x1000,actions=pop_vlan,output:{OUTER}"


def multipath_choice(chains: Sequence[Chain]) -> Iterator[str]:
    """A hash that is the same in both directions. Of the ways from it to a link, `hrw` moves fewest."""
    links = f"multipath(symmetric_l3l4+udp,1024,hrw,{len(chains)},0,NXM_NX_REG1[])"
    yield f"flow add table=0,in_port={OUTER},actions={links},resubmit(,1)"
    for link, chain in enumerate(chains):
        yield f"flow add table=1,reg1={link},actions=set_field:{chain.slot}->reg0,resubmit(,2)"


# -- a hash group, and learn -------------------------------------------------------------------------------

_UNKNOWN = 0xFFFF
"""In reg0: no chain yet."""


@dataclass(frozen=True)
class _Family:
    """How Open vSwitch's tools spell it: after a transport's name, in a group's fields, in `learn`."""

    suffix: str
    word: str
    ethertype: int
    field: str


_FAMILIES = (_Family("", "ip", 0x0800, "NXM_OF_IP"), _Family("6", "ipv6", 0x86DD, "NXM_NX_IPV6"))
_PROTOCOLS = tuple(product(_FAMILIES, (("tcp", 6), ("udp", 17))))


def learn(*, forward: bool) -> Iterator[str]:
    """Table 3: learn a session for which this end chose a chain. Table 4: learn one that came out of a chain.

    Table 10 holds what was learned: it comes first. What is neither TCP nor UDP crosses the first chain.
    """
    for chain in CHAINS:
        tag = chain.tags.reverse if forward else chain.tags.forward
        back = f"set_field:{chain.slot}->reg0,pop_vlan,resubmit(,4),output:{OUTER}"
        yield f"flow add table=0,in_port={INNER},dl_vlan={tag},actions={back}"
    unknown = f"set_field:{_UNKNOWN}->reg0"
    yield f"flow add table=0,in_port={OUTER},actions={unknown},resubmit(,10),resubmit(,1)"
    yield "flow add table=1,priority=0,actions=resubmit(,2)"
    yield f"flow add table=1,priority=1,reg0={_UNKNOWN},actions=set_field:0->reg0,resubmit(,2)"
    for group, name, learned, answer in _learning():
        yield f"flow add table=1,priority=2,reg0={_UNKNOWN},{name},actions=group:{group}"
        yield f"flow add table=3,{name},actions={learned},resubmit(,2)"
        yield f"flow add table=4,{name},actions={answer}"


def groups(chains: Sequence[Chain]) -> Iterator[str]:
    """One for each protocol, with a bucket a chain: each session hashes to one of them."""
    buckets = "".join(f",bucket=actions=set_field:{chain.slot}->reg0,resubmit(,3)" for chain in chains)
    for group, (family, (transport, _)) in enumerate(_PROTOCOLS, start=1):
        fields = f"{family.word}_src,{family.word}_dst,{transport}_src,{transport}_dst"
        yield f"group add_or_mod group_id={group},type=select,selection_method=hash,fields({fields}){buckets}"


def _learning() -> Iterator[tuple[int, str, str, str]]:
    """(group, match, `learn` of a session as this packet goes, `learn` as its answer will come)."""
    for group, (family, (transport, number)) in enumerate(_PROTOCOLS, start=1):
        ends = (family.field, f"NXM_OF_{transport.upper()}")
        pairs = [(f"{end}_SRC[]", f"{end}_DST[]") for end in ends]
        same = [f"{field}={field}" for pair in pairs for field in pair]
        turned = [f"{a}={b}" for source, target in pairs for a, b in ((source, target), (target, source))]
        learned, answer = (
            f"learn(table=10,idle_timeout={LEARNED_S},eth_type={family.ethertype:#x},nw_proto={number},"
            f"{','.join(match)},load:NXM_NX_REG0[]->NXM_NX_REG0[])"
            for match in (same, turned)
        )
        yield group, f"{transport}{family.suffix}", learned, answer
