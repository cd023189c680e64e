"""Past a segment, and a load balancer cut off: the rules for one whose machine is gone. Pure.

    through:   hosts == edge == outer [master] inner == chains == inner [slave] outer == edge == hosts
    around:    hosts == edge ------------------- ask ID ------------------------ edge == hosts

What is led around takes the path of the segment's asks, whose VLAN ID no chain may use; asks there are none
meanwhile, for nothing enters the pair from outside. Fixed NFs stand at the edges: they are crossed as ever.
The chains keep their rules between the two inner ports, so that load balancers which came back can be looked
at before traffic is led through them again.

A fence is about one load balancer, whatever becomes of its segment: nothing is taken from it or sent to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

from catenary.errors import Conflict
from controller.edge import Way
from controller.insertion import outers
from controller.network import Network, Port
from controller.pipeline import CHAINS, CLASSIFY, EDGE, Action, Goto, Match, Output, PopTag, PushTag, Rule
from controller.steering import CHAIN_PRIORITY, AskPlan, around_cookie, fence_cookie

FENCE_PRIORITY = 40
"""Above all classification."""


def fence_rules(network: Network, balancer: str) -> list[Rule]:
    """What drops, and counts, all that comes from a load balancer, tagged or not."""
    cookie = fence_cookie(balancer)
    return [
        Rule(port.switch, CLASSIFY.id, FENCE_PRIORITY, Match(in_port=port.name), (), cookie)
        for port in ports_of(network, balancer)
    ]


def ports_of(network: Network, balancer: str) -> tuple[Port, Port]:
    """Its outer and its inner port."""
    attached = network.balancers[balancer]
    return attached.outer, attached.inner


def cut(rules: Iterable[Rule], ports: Collection[Port]) -> list[Rule]:
    """The rules without a way from these ports or to them."""
    return [replace(rule, actions=_kept(rule, ports)) for rule in rules] if ports else list(rules)


def _kept(rule: Rule, ports: Collection[Port]) -> tuple[Action, ...]:
    if rule.match.in_port is not None and Port(rule.switch, rule.match.in_port) in ports:
        return ()
    kept = [
        action
        for action in rule.actions
        if not (isinstance(action, Output) and Port(rule.switch, action.port) in ports)
    ]
    while kept and isinstance(kept[-1], PushTag | PopTag):  # a tag for nobody
        kept.pop()
    return tuple(kept)


def around_rules(network: Network, plan: AskPlan) -> list[Rule]:
    """What carries frames both ways between the edges of a segment's two sides, with its ask ID as tag."""
    vid, cookie = network.segments[plan.segment].ask_id, around_cookie(plan.segment)

    def rule(here: Port, *actions: Action) -> Rule:
        match = Match(in_port=here.name, vlan=vid)
        return Rule(here.switch, CHAINS.id, CHAIN_PRIORITY, match, actions, cookie)

    ends = around_ends(network, plan).values()
    rules = [rule(way.port, PopTag(), Goto(EDGE.id)) for way in ends]
    for hop, after in pairwise(plan.bypass):
        rules += [rule(hop.into, Output(after.out.name)), rule(after.out, Output(hop.into.name))]
    return rules


def around_ends(network: Network, plan: AskPlan) -> dict[Port, Way]:
    """What the edges have in place of the pair's outer ports: the two ends of the path."""
    push = PushTag(network.segments[plan.segment].ask_id)
    ends = plan.bypass[-1].into, plan.bypass[0].out
    return {
        outer: Way(end, (push, Output(end.name)))
        for outer, end in zip(outers(network, plan.segment), ends, strict=True)
    }


def check_around(network: Network, plan: AskPlan, others: Mapping[Port, Way | None]) -> None:
    """Raise `Conflict` when there is no way around: both load balancers on one switch, or a port at which
    something else comes to an edge without its tag, from which it could not be told (`others`).
    """
    what = f"traffic can't be led around segment {plan.segment!r}"
    if not plan.bypass:
        raise Conflict(f"{what}: both of its load balancers are attached to one switch")
    mine = {way.port for way in around_ends(network, plan).values()}
    for way in others.values():
        if way is not None and way.port in mine:
            raise Conflict(
                f"{what}: other traffic comes to port {way.port} without load balancers in the way, and the "
                "two could not be told apart; lead that one through its pair first"
            )
