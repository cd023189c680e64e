"""Steering: frames walked through the rules of random networks, and every refusal with its text."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catenary.chain import Chain
from catenary.errors import CatenaryError, Conflict, InvalidValue
from controller.edge import base_rules
from controller.network import Balancer, Network, Port, Topology
from controller.pipeline import LLDP, UNTAGGED, Rule
from controller.steering import (
    NoPath,
    Plan,
    ask_rules,
    chain_cookie,
    chain_rules,
    keys,
    plan_asks,
    plan_chain,
    route,
    segment_cookie,
)
from tests.unit.controller_walk import (
    ASK,
    KEPT,
    PAPER,
    PAPER_LINKS,
    PAPER_TOPOLOGY,
    STRIPPED,
    chain,
    link,
    network,
    walker,
)


def check(network: Network, topology: Topology, plans: list[Plan]) -> None:
    """Every promise of steering, for every chain of `plans`."""
    walk = walker(network, topology, plans)
    l1, l2 = network.balancers["l1"].inner, network.balancers["l2"].inner
    for plan in plans:
        tags = plan.chain.tags
        crossed = [network.nfs[name] for name in plan.chain.nfs]
        forward = [(Port(nf.switch, nf.ingress), Port(nf.switch, nf.egress), nf.tags) for nf in crossed]
        backward = [(out, into, kept) for into, out, kept in reversed(forward)]
        for start, end, vid, places in ((l1, l2, tags.forward, forward), (l2, l1, tags.reverse, backward)):
            at, tag = start, vid
            for into, out, mode in places:
                tag_there = UNTAGGED if mode is STRIPPED else vid
                assert walk.go(at, tag) == [(into, tag_there)]
                at, tag = out, tag_there
            assert walk.go(at, tag) == [(end, vid)]
        assert walk.go(l2, tags.forward) == [(l1, tags.forward)]
        assert walk.go(l1, tags.reverse) == [(l2, tags.reverse)]
    assert walk.go(l2, ASK) == [(l1, ASK)]
    for plan in plans:
        assert Counter(keys(network, plan)) == Counter(map(key_of, chain_rules(network, plan)))
    rules = [rule for plan in plans for rule in chain_rules(network, plan)]
    rules += ask_rules(network, plan_asks(network, topology, "main"))
    assert [key for key, count in Counter(map(key_of, rules)).items() if count > 1] == []


def key_of(rule: Rule) -> tuple[str, str | None, int | None]:
    return rule.switch, rule.match.in_port, rule.match.vlan


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Network, Topology, list[Chain]]:
    """A connected random network of up to 7 switches, parallel links, NFs of all kinds, some chains."""
    count = draw(st.integers(1, 7))
    names = [f"s{n}" for n in range(1, count + 1)]
    links = {link(name, draw(st.sampled_from(names[:index]))) for index, name in enumerate(names) if index}
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names), st.integers(0, 1))
    links |= {link(a, b, which) for a, b, which in draw(st.lists(pairs, max_size=8)) if a != b}
    kinds = st.sampled_from([(STRIPPED, False), (KEPT, False), (KEPT, True)])
    nfs = {}
    for n in range(draw(st.integers(1, 6))):
        mode, one = draw(kinds)
        nfs[f"n{n}"] = (draw(st.sampled_from(names)), mode, one)
    l1, l2 = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    made = network(nfs, count, l1, l2)
    orders = draw(
        st.lists(st.lists(st.sampled_from(sorted(nfs)), min_size=1, unique=True), min_size=1, max_size=3)
    )
    chains = [chain(f"c{n}", 2 + 2 * n, *order) for n, order in enumerate(orders)]
    return made, Topology(frozenset(names), frozenset(links)), chains


@settings(max_examples=60)
@given(worlds())
def test_frames_cross_their_nfs_in_order_in_any_network(world: tuple[Network, Topology, list[Chain]]) -> None:
    made, topology, chains = world
    plans: list[Plan] = []
    for one in chains:
        try:
            plans.append(plan_chain(made, topology, one, "main", plans))
        except Conflict:
            continue
    assume(plans)
    check(made, topology, plans)


def test_the_papers_three_chains() -> None:
    plans: list[Plan] = []
    for n, name in enumerate(("n1", "n2", "n3")):
        plans.append(plan_chain(PAPER, PAPER_TOPOLOGY, chain(f"chain-{n}", 2 + 2 * n, name), "main", plans))
    check(PAPER, PAPER_TOPOLOGY, plans)
    assert [route(PAPER, plan) for plan in plans] == [
        ["s1", "s3", "n1", "s3", "s2"],
        ["s1", "s4", "n2", "s4", "s2"],
        ["s1", "s5", "n3", "s5", "s2"],
    ]
    assert all(len(chain_rules(PAPER, plan)) == 14 for plan in plans)


def test_an_ambiguous_shortest_path_gives_way_to_another() -> None:
    """n1 on s3, n2 on s1, n3 on s3: the shortest legs would enter s3 from s1 twice with one tag."""
    made = network({"n1": ("s3", KEPT, False), "n2": ("s1", KEPT, False), "n3": ("s3", KEPT, False)})
    plan = plan_chain(made, PAPER_TOPOLOGY, chain("c", 2, "n1", "n2", "n3"), "main", [])
    check(made, PAPER_TOPOLOGY, [plan])
    assert max(len(leg) for leg in plan.legs) > 1
    line = Topology(frozenset(made.switches), frozenset({link("s1", "s3"), link("s3", "s2")}))
    with pytest.raises(NoPath, match=r"on switch 's3', frames of VLAN ID 2 from port 'to-s1-0'"):
        plan_chain(made, line, chain("c", 2, "n1", "n2", "n3"), "main", [])


def test_the_same_request_gives_the_same_rules() -> None:
    plans = [plan_chain(PAPER, PAPER_TOPOLOGY, chain("c", 2, "n1"), "main", []) for _ in range(2)]
    assert chain_rules(PAPER, plans[0]) == chain_rules(PAPER, plans[1])


def refusal(
    one: Chain, *others: Plan, topology: Topology = PAPER_TOPOLOGY, segment: str = "main"
) -> CatenaryError:
    with pytest.raises(CatenaryError) as refused:
        plan_chain(PAPER, topology, one, segment, others)
    return refused.value


def test_refusals_name_the_value_and_the_place() -> None:
    first = plan_chain(PAPER, PAPER_TOPOLOGY, chain("first", 2, "n1"), "main", [])
    unknown = refusal(chain("c", 4, "n9"))
    assert isinstance(unknown, InvalidValue)
    assert "NF 'n9' is not in the network file: use n1, n2, n3" in str(unknown)
    assert "segment 'x'" in str(refusal(chain("c", 4, "n2"), segment="x"))
    busy = refusal(chain("c", 4, "n1"), first)
    assert isinstance(busy, Conflict)
    assert "NF 'n1' serves chain 'first' already" in str(busy)
    assert "VLAN ID 3 of tag pair (3, 4) is in use by chain 'first'" in str(
        refusal(chain("c", 3, "n2"), first)
    )
    ask = refusal(chain("c", ASK - 1, "n2"))
    assert isinstance(ask, Conflict)
    assert f"VLAN ID {ASK} of tag pair (4093, 4094) is in use by segment 'main'" in str(ask)
    island = Topology(
        frozenset(PAPER.switches), frozenset(l for l in PAPER_LINKS if "s4" not in (l.a.switch, l.b.switch))
    )
    apart = refusal(chain("c", 4, "n2"), topology=island)
    assert isinstance(apart, NoPath)
    assert "no path from switch 's1' to switch 's4'" in str(apart)
    gone = Topology(PAPER_TOPOLOGY.switches - {"s4"}, PAPER_LINKS)
    assert "'s4'" in str(refusal(chain("c", 4, "n2"), topology=gone))


def test_a_kept_nf_serves_several_chains() -> None:
    made = network({"n1": ("s3", KEPT, True)})
    first = plan_chain(made, PAPER_TOPOLOGY, chain("a", 2, "n1"), "main", [])
    second = plan_chain(made, PAPER_TOPOLOGY, chain("b", 4, "n1"), "main", [first])
    check(made, PAPER_TOPOLOGY, [first, second])


def test_cookies_are_stable_apart_and_safe_for_json() -> None:
    assert chain_cookie("chain-1") == 0xC6A1E4EF349F9
    cookies = {chain_cookie(f"c{n}") for n in range(1000)} | {segment_cookie(f"c{n}") for n in range(1000)}
    assert len(cookies) == 2000
    assert max(cookies) < 1 << 53


# --- the edge --------------------------------------------------------------------------------------------


def test_the_edge_floods_nothing_and_loops_nothing() -> None:
    walk = walker(PAPER, PAPER_TOPOLOGY, [])
    h1, h3, outer = Port("s1", "h1"), Port("s1", "h3"), Port("s1", "l1-outer")
    everyone = "ff:ff:ff:ff:ff:ff"
    assert walk.go(h1, UNTAGGED, "00:00:00:00:00:03") == [(h3, UNTAGGED)]
    assert walk.go(h1, UNTAGGED) == [(outer, UNTAGGED)]
    assert walk.go(h1, UNTAGGED, "00:00:00:00:00:01") == []
    assert walk.go(h1, UNTAGGED, everyone) == [(h3, UNTAGGED), (outer, UNTAGGED)]
    assert walk.go(h1, UNTAGGED, "33:33:00:00:00:01") == [(h3, UNTAGGED), (outer, UNTAGGED)]
    assert walk.go(outer, UNTAGGED, "00:00:00:00:00:01") == [(h1, UNTAGGED)]
    assert walk.go(outer, UNTAGGED, everyone) == [(h1, UNTAGGED), (h3, UNTAGGED)]
    assert walk.go(outer, UNTAGGED) == []
    for port in (h1, outer, Port("s1", "l1-inner"), Port("s3", "n1-in"), Port("s1", "to-s3-0")):
        assert walk.go(port, 99) == []
    assert walk.go(Port("s1", "l1-inner"), UNTAGGED, everyone) == []
    assert walk.go(Port("s1", "to-s3-0"), UNTAGGED, everyone) == []


def test_two_segments_in_a_row_meet_at_a_switch() -> None:
    made = replace(
        PAPER,
        balancers={**PAPER.balancers, "l3": Balancer(Port("s2", "l3-outer"), Port("s2", "l3-inner"))},
    )
    walk = walker(made, PAPER_TOPOLOGY, [])
    one, other = Port("s2", "l2-outer"), Port("s2", "l3-outer")
    for dst in ("00:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"):
        assert walk.go(one, UNTAGGED, dst) == [(other, UNTAGGED)]
        assert walk.go(other, UNTAGGED, dst) == [(one, UNTAGGED)]


def test_only_link_ports_may_speak_lldp() -> None:
    rules = base_rules(PAPER, "s1", ["h1", "l1-inner", "l1-outer", "to-s3-0"])
    assert [rule.match.in_port for rule in rules if rule.match.eth_type == LLDP] == ["to-s3-0"]
