"""The way of a chain's frames, rule by rule: what is found by following its rules from port to port. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from catenary.chain import NetworkFunction
from controller.network import Network, Port
from controller.pipeline import UNTAGGED, Goto, Output, PopTag, PushTag, Rule
from controller.steering import Plan


@dataclass(frozen=True)
class Met:
    """A rule that a frame meets, and the ends of its wires: where it comes from, and where it goes."""

    rule: Rule
    source: str
    target: str


def way(network: Network, plan: Plan, rules: Iterable[Rule], *, forward: bool) -> list[Met]:
    """From the inner port of one load balancer to that of the other, in the order in which frames go.

    `rules` are those of the chain. Where the pair is not inserted, the first rule is met by nobody: the edge
    puts the tag on.
    """
    segment = network.segments[plan.segment]
    start = network.balancers[segment.master if forward else segment.slave].inner
    vid = plan.chain.tags.forward if forward else plan.chain.tags.reverse
    return list(_follow(_Wires(network, plan), {_key(rule): rule for rule in rules}, start, vid))


def _key(rule: Rule) -> tuple[str, str | None, int | None]:
    return rule.switch, rule.match.in_port, rule.match.vlan


def _follow(
    wires: _Wires, rules: Mapping[tuple[str, str | None, int | None], Rule], at: Port, vid: int
) -> Iterator[Met]:
    source = wires.names[at]
    here: Port | None = at
    while here is not None and (rule := rules.get((here.switch, here.name, vid))) is not None:
        out = None
        for action in rule.actions:
            match action:
                case Output(port):
                    out = Port(here.switch, port)
                case PushTag(new):
                    vid = new
                case PopTag():
                    vid = UNTAGGED
        if out is None:
            yield Met(rule, source, f"the edge of {here.switch}" if _leaves(rule) else "nowhere")
            return
        yield Met(rule, source, wires.names.get(out) or str(wires.peers.get(out, out)))
        here = wires.behind(out)
        source = "" if here is None else wires.names.get(here) or str(out)


def _leaves(rule: Rule) -> bool:
    return any(isinstance(action, Goto) for action in rule.actions)


class _Wires:
    """What is at each port: names of what is attached, and the other ends of the chain's links."""

    def __init__(self, network: Network, plan: Plan) -> None:
        hops = [hop for leg in plan.legs for hop in leg]
        self.peers = {hop.out: hop.into for hop in hops} | {hop.into: hop.out for hop in hops}
        self._nfs = {Port(nf.switch, port): nf for nf in network.nfs.values() for port in _ports(nf)}
        self.names = {Port(nf.switch, port): name for nf in network.nfs.values() for port, name in _named(nf)}
        for name, balancer in network.balancers.items():
            self.names |= {balancer.inner: f"{name}.inner", balancer.outer: f"{name}.outer"}

    def behind(self, out: Port) -> Port | None:
        """The port by which a frame comes back to a switch that went out of this one, if it does."""
        nf = self._nfs.get(out)
        if nf is None:
            return self.peers.get(out)
        return Port(nf.switch, nf.egress if out.name == nf.ingress else nf.ingress)


def _ports(nf: NetworkFunction) -> tuple[str, str]:
    return nf.ingress, nf.egress


def _named(nf: NetworkFunction) -> list[tuple[str, str]]:
    if nf.ingress == nf.egress:
        return [(nf.ingress, nf.name)]
    return [(nf.ingress, f"{nf.name}.ingress"), (nf.egress, f"{nf.name}.egress")]
