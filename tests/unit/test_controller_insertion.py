"""Fixed NFs around a pair, and a pair that is inserted: frames walked through the rules."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from catenary.chain import TagMode
from catenary.errors import Conflict
from controller.edge import Way, edge_rules
from controller.insertion import check_alone, ends, outers, plain_rules
from controller.network import Balancer, Host, Network, Port, Segment
from controller.pipeline import UNTAGGED, Rule
from controller.steering import Plan, chain_rules, plan_chain
from tests.unit.controller_walk import (
    KEPT,
    PAPER_TOPOLOGY,
    STRIPPED,
    Walker,
    chain,
    network,
    walker,
    walker_of,
)

H1, H2, H3 = Port("s1", "h1"), Port("s2", "h2"), Port("s1", "h3")
MACS = {H1: "00:00:00:00:00:01", H2: "00:00:00:00:00:02", H3: "00:00:00:00:00:03"}
EVERYONE = "ff:ff:ff:ff:ff:ff"


def with_server(made: Network) -> Network:
    return replace(made, hosts={**made.hosts, "h2": Host(H2, MACS[H2])})


def fixed_network() -> Network:
    """Two fixed NFs before the master, one after the slave."""
    made = network(
        {
            "n1": ("s3", STRIPPED, False),
            "f1": ("s1", STRIPPED, False),
            "f2": ("s1", KEPT, False),
            "f3": ("s2", STRIPPED, False),
        }
    )
    main = replace(made.segments["main"], before=("f1", "f2"), after=("f3",))
    return replace(with_server(made), segments={"main": main})


def through(walk: Walker, start: Port, dst: str, *crossed: tuple[Port, Port]) -> list[tuple[Port, int]]:
    """Where a frame ends that leaves `start`, and goes in and comes out of each of these pairs of ports."""
    at = start
    for into, out in crossed:
        assert walk.go(at, UNTAGGED, dst) == [(into, UNTAGGED)]
        at = out
    return walk.go(at, UNTAGGED, dst)


def test_fixed_nfs_stand_in_a_line_between_hosts_and_pair() -> None:
    walk = walker(fixed_network(), PAPER_TOPOLOGY, [])
    f1, f2 = ((Port("s1", f"{name}-in"), Port("s1", f"{name}-out")) for name in ("f1", "f2"))
    f3 = Port("s2", "f3-in"), Port("s2", "f3-out")
    l1, l2 = Port("s1", "l1-outer"), Port("s2", "l2-outer")
    assert through(walk, H1, MACS[H2], f1, f2) == [(l1, UNTAGGED)]
    assert through(walk, l1, MACS[H1], f2[::-1], f1[::-1]) == [(H1, UNTAGGED)]
    assert through(walk, l2, MACS[H2], f3) == [(H2, UNTAGGED)]
    assert through(walk, H2, MACS[H1], f3[::-1]) == [(l2, UNTAGGED)]
    assert walk.go(H1, UNTAGGED, MACS[H3]) == [(H3, UNTAGGED)]  # both are clients
    assert walk.go(H1, UNTAGGED, EVERYONE) == [(H3, UNTAGGED), (f1[0], UNTAGGED)]
    assert walk.go(f1[0], UNTAGGED, EVERYONE) == [(H1, UNTAGGED), (H3, UNTAGGED)]
    assert walk.go(f1[0], UNTAGGED, MACS[H2]) == []  # never back
    assert walk.go(f1[1], 7) == []


@pytest.mark.parametrize(
    ("switch", "mode"), [("s3", STRIPPED), ("s3", KEPT), ("s1", STRIPPED), ("s1", KEPT), ("s2", STRIPPED)]
)
def test_a_pair_is_inserted_with_any_mix_of_old_and_new_rules(switch: str, mode: TagMode) -> None:
    """Traffic goes through the load balancer or past it at each end, and arrives all the same."""
    made = with_server(network({"n1": (switch, mode, False)}))
    plan = plan_chain(made, PAPER_TOPOLOGY, chain("c", 2, "n1"), "main", [])
    for master, slave in itertools.product((False, True), repeat=2):
        walk = walker_of(made, PAPER_TOPOLOGY, mixed(made, plan, {"s1": master, "s2": slave}))
        tag = UNTAGGED if mode is STRIPPED else None
        into, out = Port(switch, "n1-in"), Port(switch, "n1-out")
        journeys = (
            (H1, "l1", master, (into, out), 2, "l2", slave, H2),
            (H2, "l2", slave, (out, into), 3, "l1", master, H1),
        )
        for start, near, near_in, (nf_in, nf_out), vid, far, far_in, end in journeys:
            dst = MACS[end]
            nf_tag = vid if tag is None else tag
            at, sent = start, UNTAGGED
            if near_in:
                assert walk.go(at, UNTAGGED, dst) == [(Port(at.switch, f"{near}-outer"), UNTAGGED)]
                at, sent = Port(at.switch, f"{near}-inner"), vid
            assert walk.go(at, sent, dst) == [(nf_in, nf_tag)]
            if far_in:
                inner = Port(end.switch, f"{far}-inner")
                assert walk.go(nf_out, nf_tag, dst) == [(inner, vid)]
                outer = Port(end.switch, f"{far}-outer")
                assert walk.go(outer, UNTAGGED, dst) == [(end, UNTAGGED)]
            else:
                assert walk.go(nf_out, nf_tag, dst) == [(end, UNTAGGED)]
        # An ask of the slave finds its master all the time, and the answer its way back.
        l1, l2 = Port("s1", "l1-inner"), Port("s2", "l2-inner")
        assert walk.go(l2, 2) == [(l1, 2)]
        assert walk.go(l1, 3) == [(l2, 3)]


def test_fixed_nfs_stand_before_a_plain_chain_too() -> None:
    made = fixed_network()
    plan = plan_chain(made, PAPER_TOPOLOGY, chain("c", 2, "n1"), "main", [])
    walk = walker_of(made, PAPER_TOPOLOGY, mixed(made, plan, {}))
    f1, f2 = ((Port("s1", f"{name}-in"), Port("s1", f"{name}-out")) for name in ("f1", "f2"))
    f3, n1 = (Port("s2", "f3-in"), Port("s2", "f3-out")), (Port("s3", "n1-in"), Port("s3", "n1-out"))
    assert through(walk, H1, MACS[H2], f1, f2, n1, f3) == [(H2, UNTAGGED)]
    back = [pair[::-1] for pair in (f3, n1, f2, f1)]
    assert through(walk, H2, MACS[H1], *back) == [(H1, UNTAGGED)]


def mixed(made: Network, plan: Plan, inserted: dict[str, bool]) -> list[Rule]:
    """The rules of switches whose pair is inserted, and of others."""
    plain: dict[Port, Way | None] = dict(ends(made, plan))
    rules = []
    for switch in made.switches:
        there = inserted.get(switch, False)
        rules += edge_rules(made, switch, {} if there else plain)
        chains = chain_rules(made, plan) if there else plain_rules(made, plan)
        rules += [rule for rule in chains if rule.switch == switch]
    return rules


def test_without_a_chain_nothing_passes_a_pair_that_is_not_inserted() -> None:
    made = with_server(network({"n1": ("s3", STRIPPED, False)}))
    nothing: dict[Port, Way | None] = dict.fromkeys(outers(made, "main"))
    rules = [rule for switch in made.switches for rule in edge_rules(made, switch, nothing)]
    walk = walker_of(made, PAPER_TOPOLOGY, rules)
    assert walk.go(H1, UNTAGGED, MACS[H2]) == []
    assert walk.go(H1, UNTAGGED, EVERYONE) == [(H3, UNTAGGED)]


def test_broadcast_from_a_host_leaves_untagged_to_hosts_and_tagged_into_the_chain() -> None:
    made = with_server(network({"n1": ("s3", KEPT, False)}))
    plan = plan_chain(made, PAPER_TOPOLOGY, chain("c", 2, "n1"), "main", [])
    walk = walker_of(made, PAPER_TOPOLOGY, mixed(made, plan, {}))
    assert walk.go(H1, UNTAGGED, EVERYONE) == [(H3, UNTAGGED), (Port("s3", "n1-in"), 2)]
    assert walk.go(Port("s3", "n1-in"), 3, EVERYONE) == [(H1, UNTAGGED), (H3, UNTAGGED)]


def test_two_chains_that_meet_a_switch_by_one_port_are_refused() -> None:
    """What comes in there could not be told apart once its tag is off."""
    made = network({"n1": ("s3", STRIPPED, False), "n2": ("s3", STRIPPED, False)})
    pairs = {
        "l3": Balancer(Port("s4", "l3-outer"), Port("s4", "l3-inner")),
        "l4": Balancer(Port("s2", "l4-outer"), Port("s2", "l4-inner")),
    }
    segments = {"main": Segment("l1", "l2", 4094), "other": Segment("l3", "l4", 4093)}
    made = replace(made, balancers={**made.balancers, **pairs}, segments=segments)
    one = plan_chain(made, PAPER_TOPOLOGY, chain("one", 2, "n1"), "main", [])
    two = plan_chain(made, PAPER_TOPOLOGY, chain("two", 4, "n2"), "other", [one])
    with pytest.raises(Conflict, match="'one' and 'two' both come to switch 's2' by port 'to-s3-0'"):
        check_alone(made, two, [one])


def test_only_the_two_ends_change() -> None:
    """What an insertion replaces is on the switches of the pair, one rule of the chain on each."""
    made = with_server(network({"n1": ("s3", STRIPPED, False)}))
    plan = plan_chain(made, PAPER_TOPOLOGY, chain("c", 2, "n1"), "main", [])
    before, after = plain_rules(made, plan), chain_rules(made, plan)
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [(rule.switch, rule.match.vlan) for rule in changed] == [("s1", 3), ("s2", 2)]
    assert all(old.match == new.match for old, new in zip(before, after, strict=True))
