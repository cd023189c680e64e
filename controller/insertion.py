"""A segment whose pair is not in the way yet: its one chain joins the edges of both sides by itself. Pure.

    inserted:   hosts == edge == outer [master] inner --f--> NFs --f--> inner [slave] outer == edge == hosts
    plain:      hosts == edge ------------------------f--> NFs --f---------------------------- edge == hosts

A plain chain has all rules of an inserted one but two: what arrives with the chain's tag loses it and goes on
in the edge table, and the edge puts the other tag on. So inserting the pair replaces a few rules on the two
switches of its load balancers, each at once, and no NF, no path and no tag of the chain changes. Any mix of
replaced and old rules delivers: load balancers that know the chain take up a session at either end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from catenary.errors import Conflict
from controller.edge import Way
from controller.network import Network, Port
from controller.pipeline import EDGE, UNTAGGED, Action, Goto, Output, PopTag, PushTag, Rule
from controller.steering import Plan, chain_rules


def plain_rules(network: Network, plan: Plan) -> list[Rule]:
    """The rules of a chain whose segment's pair is not inserted."""
    rules = chain_rules(network, plan)
    for inner, arriving, _ in _sides(network, plan):
        last = _last(rules, inner, arriving)
        pop: tuple[Action, ...] = () if last.match.vlan == UNTAGGED else (PopTag(),)
        rules[rules.index(last)] = replace(last, actions=(*pop, Goto(EDGE.id)))
    return rules


def ends(network: Network, plan: Plan) -> dict[Port, Way]:
    """What the edges have in place of the pair's outer ports: the two ends of the chain."""
    rules = chain_rules(network, plan)
    found = {}
    both = zip(_sides(network, plan), outers(network, plan.segment), strict=True)
    for (inner, arriving, leaving), outer in both:
        last = _last(rules, inner, arriving)
        first = next(
            rule
            for rule in rules
            if rule.switch == inner.switch and (rule.match.in_port, rule.match.vlan) == (inner.name, leaving)
        )
        bare = isinstance(first.actions[0], PopTag)
        out = first.actions[1:] if bare else (PushTag(leaving), *first.actions)
        assert last.match.in_port is not None  # every rule of a chain has one
        found[outer] = Way(Port(inner.switch, last.match.in_port), out)
    return found


def check_alone(network: Network, plan: Plan, others: Collection[Plan]) -> None:
    """Raise `Conflict` when a plain chain is not the only one of its segment, or comes to an edge by the port
    of another one: without its tag, what comes in there could not be told apart.
    """
    if plan.chain.bypass:
        raise Conflict(
            f"the pair of segment {plan.segment!r} is not in the way of its traffic, so nothing tells what "
            "passes by: insert it first (catenary segment insert)"
        )
    for other in others:
        if other.segment == plan.segment:
            raise Conflict(
                f"the pair of segment {plan.segment!r} is not in the way of its traffic, which chain "
                f"{other.chain.name!r} carries alone: insert it first (catenary segment insert)"
            )
    mine = {way.port for way in ends(network, plan).values()}
    for other in others:
        for way in ends(network, other).values():
            if way.port in mine:
                raise Conflict(
                    f"chains {other.chain.name!r} and {plan.chain.name!r} both come to switch "
                    f"{way.port.switch!r} by port {way.port.name!r}, and no load balancers are in the way: "
                    "insert a pair first"
                )


def outers(network: Network, segment: str) -> tuple[Port, Port]:
    """The outer ports of a segment's pair, master first."""
    pair = network.segments[segment]
    return network.balancers[pair.master].outer, network.balancers[pair.slave].outer


def _sides(network: Network, plan: Plan) -> list[tuple[Port, int, int]]:
    """For master and slave: the inner port, the chain's tag that arrives there, the one that leaves."""
    pair, tags = network.segments[plan.segment], plan.chain.tags
    master, slave = network.balancers[pair.master].inner, network.balancers[pair.slave].inner
    return [(master, tags.reverse, tags.forward), (slave, tags.forward, tags.reverse)]


def _last(rules: list[Rule], inner: Port, vid: int) -> Rule:
    """The rule that hands frames of `vid` to an inner port: one, for the bypass brings other IDs there."""
    return next(
        rule
        for rule in rules
        if rule.switch == inner.switch
        and Output(inner.name) in rule.actions
        and (rule.match.vlan == vid or PushTag(vid) in rule.actions)
    )
