"""Chains in a testbed without services: fixed OpenFlow rules that hash sessions to tags on both sides.

Open vSwitch's symmetric hash stands for the load balancers, as long as the number of chains doesn't change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from topologies.testbed import Testbed

TAGS = ((2, 3), (4, 5), (6, 7))
GROUP = "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"


@dataclass(frozen=True)
class Edge:
    """A switch with hosts: their ports and MACs, the ports towards s3 s4 s5, and which tag it pushes."""

    hosts: dict[int, str]
    trunks: tuple[int, int, int]
    side: int


CLIENTS = Edge({1: "00:00:00:00:00:01", 2: "00:00:00:00:00:03"}, (5, 6, 7), side=0)
SERVERS = Edge({1: "00:00:00:00:00:02"}, (4, 5, 6), side=1)


def install(testbed: Testbed, chains: int, *, reverse_by: int | None = None) -> None:
    """Spread sessions over the first `chains`; `reverse_by` forces all server packets through that one."""
    rules = {
        "s1": _edge(CLIENTS, _spread(chains)),
        "s2": _edge(SERVERS, _spread(chains) if reverse_by is None else _fixed(reverse_by)),
        **{switch: _middle(*tags) for switch, tags in zip(("s3", "s4", "s5"), TAGS, strict=True)},
    }
    for switch, lines in rules.items():
        testbed.ovs.ofctl("del-flows", switch)
        file = testbed.run_dir / f"{switch}.flows"
        file.write_text("\n".join(lines) + "\n")
        testbed.ovs.ofctl("add-flows", switch, str(file))


def _spread(chains: int) -> str:
    return f"multipath(symmetric_l3l4,0,modulo_n,{chains},0,NXM_NX_REG0[0..7]),resubmit(,1)"


def _fixed(chain: int) -> str:
    return f"load:{chain}->NXM_NX_REG0[0..7],resubmit(,1)"


def _edge(edge: Edge, pick: str) -> Iterator[str]:
    """Table 0: sessions by `pick`, neighbour discovery by the first chain; table 1: the tag of that chain."""
    for port in edge.hosts:
        others = "".join(f"output:{other}," for other in edge.hosts if other != port)
        yield f"in_port={port},priority=20,icmp6,{GROUP},actions={others}{_fixed(0)}"
        for kind in ("ip", "ipv6"):
            yield f"in_port={port},priority=10,{kind},actions={pick}"
        yield f"in_port={port},priority=5,actions={others}{_fixed(0)}"
    for chain, (trunk, tags) in enumerate(zip(edge.trunks, TAGS, strict=True)):
        yield f"table=1,reg0={chain},actions={_push(tags[edge.side])},output:{trunk}"
        back = f"in_port={trunk},dl_vlan={tags[1 - edge.side]}"
        for port, mac in edge.hosts.items():
            yield f"{back},dl_dst={mac},actions=pop_vlan,output:{port}"
        yield f"{back},{GROUP},actions=pop_vlan" + "".join(f",output:{port}" for port in edge.hosts)


def _middle(forward: int, reverse: int) -> Iterator[str]:
    """Ports: 1 the NF's ingress, 2 its egress, 3 to s1, 4 to s2."""
    for arrives, tag, nf_in, nf_out, leaves in ((3, forward, 1, 2, 4), (4, reverse, 2, 1, 3)):
        yield f"in_port={arrives},dl_vlan={tag},actions=pop_vlan,output:{nf_in}"
        yield f"in_port={nf_out},actions={_push(tag)},output:{leaves}"


def _push(tag: int) -> str:
    return f"push_vlan:0x8100,set_field:{4096 + tag}->vlan_vid"
