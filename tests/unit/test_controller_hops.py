"""The way of a chain's frames, rule by rule, against a walk of frames through the rules."""

from __future__ import annotations

from controller.hops import Met, way
from controller.insertion import plain_rules
from controller.network import Network, Topology
from controller.pipeline import Output
from controller.steering import Plan, chain_rules, plan_chain
from tests.unit.controller_walk import KEPT, PAPER, PAPER_LINKS, STRIPPED, chain, network, walker
from tests.unit.test_controller_conductor import ONE, World

LONG = network({"n1": ("s3", STRIPPED, False), "n2": ("s3", KEPT, True), "n3": ("s5", KEPT, False)})
TOPOLOGY = Topology(frozenset(PAPER.switches), PAPER_LINKS)


def ways(net: Network, *nfs: str) -> tuple[Plan, list[Met], list[Met]]:
    plan = plan_chain(net, TOPOLOGY, chain("one", 2, *nfs), "main", [])
    rules = chain_rules(net, plan)
    return plan, way(net, plan, rules, forward=True), way(net, plan, rules, forward=False)


def attached(mets: list[Met]) -> list[str]:
    """What is crossed, without the ports of links."""
    ends = [end for met in mets for end in (met.source, met.target)]
    return [end for end in ends if "." in end or end in ("n2",)]


def test_the_hops_go_from_one_load_balancer_to_the_other_and_back() -> None:
    _, forward, reverse = ways(PAPER, "n1")
    assert attached(forward) == ["l1.inner", "n1.ingress", "n1.egress", "l2.inner"]
    assert attached(reverse) == ["l2.inner", "n1.egress", "n1.ingress", "l1.inner"]
    assert [met.rule.switch for met in forward] == ["s1", "s3", "s3", "s2"]
    assert [met.rule.switch for met in reverse] == ["s2", "s3", "s3", "s1"]
    assert forward[0].target == "s3:to-s1-0"
    assert forward[1].source == "s1:to-s3-0"


def test_nfs_of_every_kind_are_crossed_in_order() -> None:
    _, forward, reverse = ways(LONG, "n1", "n2", "n3")
    there = ["l1.inner", "n1.ingress", "n1.egress", "n2", "n2", "n3.ingress", "n3.egress", "l2.inner"]
    assert attached(forward) == there
    assert attached(reverse) == there[::-1]


def test_every_rule_of_the_chain_but_those_of_the_bypass_is_met_once() -> None:
    plan, forward, reverse = ways(LONG, "n1", "n2", "n3")
    met = [one.rule for one in (*forward, *reverse)]
    assert len(set(met)) == len(met)
    bypass = 2 * (len(plan.bypass) + 1)
    assert len(chain_rules(LONG, plan)) == len(met) + bypass


def test_a_walk_of_frames_ends_where_the_hops_end() -> None:
    plan, forward, _ = ways(PAPER, "n2")
    walk = walker(PAPER, TOPOLOGY, [plan])
    first = next(met for met in forward if met.target == "n2.ingress")
    assert isinstance(first.rule.actions[-1], Output)
    out = walk.go(PAPER.balancers["l1"].inner, plan.chain.tags.forward)
    assert [port.name for port, _ in out] == [first.rule.actions[-1].port]


def test_where_the_pair_is_not_inserted_frames_leave_by_the_edge() -> None:
    plan = plan_chain(PAPER, TOPOLOGY, chain("one", 2, "n1"), "main", [])
    forward = way(PAPER, plan, plain_rules(PAPER, plan), forward=True)
    assert forward[-1].target == "the edge of s2"


def test_the_service_counts_what_each_rule_carried() -> None:
    world = World()
    world.connect(1, 2, 3)
    world.conductor.steer("one", ONE)
    try:
        hops = world.conductor.hops("one")
        assert [hop.switch for hop in hops.forward] == ["s1", "s3", "s3", "s2"]
        assert all(hop.installed and (hop.packets, hop.bytes) == (1, 60) for hop in hops.forward)
        assert hops.reverse[0].match == {"in_port": "l2i", "vlan": 3}
        world.switches[3].held.clear()
        assert [hop.installed for hop in world.conductor.hops("one").forward] == [True, False, False, True]
    finally:
        world.conductor.fabric.stop()
