"""May another network take the place of this one while chains are steered? Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from catenary.errors import Conflict
from controller.network import Network
from controller.steering import AskPlan, Hop, Plan

_WORDS = {"switches": "switch", "nfs": "NF", "balancers": "load balancer", "segments": "segment"}


def exchanged(new: Network, names: Collection[str]) -> Network:
    """With these load balancers where their standbys are, or `Conflict`: one would be led to a dead place."""
    for name in sorted(names):
        if name not in new.standbys:
            raise Conflict(
                f"load balancer {name!r} is where its standby was, and this network has none for it: "
                "name it, or have it change places first"
            )
    return new.exchanged(names)


def check_detours(old: Network, new: Network, fenced: Iterable[str], around: Iterable[AskPlan]) -> None:
    """Raise `Conflict` that names what a fence or a way around a segment uses, and would find changed."""
    used = [("balancers", name, "a fence: unfence it") for name in fenced]
    for path in around:
        why = f"the way around segment {path.segment!r}: lead traffic through it"
        segment = old.segments[path.segment]
        ports = {end for hop in path.bypass for end in (hop.out, hop.into)}
        used += [("segments", path.segment, why)]
        used += [("balancers", name, why) for name in (segment.master, segment.slave)]
        used += [("switches", name, why) for name in sorted({port.switch for port in ports})]
        for port in sorted(ports & new.attached()):
            raise Conflict(f"port {port} belongs to a link that is used by {why} first")
    for section, name, why in used:
        if getattr(old, section)[name] != getattr(new, section).get(name):
            raise Conflict(f"{_WORDS[section]} {name!r} is used by {why} first")


def check(old: Network, new: Network, plans: Iterable[Plan], asks: Iterable[AskPlan]) -> None:
    """Raise `Conflict` that names what a steered chain uses, and would lose or find changed."""
    bypasses = {ask.segment: ask.bypass for ask in asks}
    attached = new.attached()
    for plan in plans:
        hops = [hop for path in (*plan.legs, plan.bypass, bypasses.get(plan.segment, ())) for hop in path]
        for section, name in _used(old, plan, hops):
            _check_same(section, name, plan, getattr(old, section)[name], getattr(new, section).get(name))
        for port in sorted({port for hop in hops for port in (hop.out, hop.into)} & attached):
            raise Conflict(
                f"port {port} belongs to a link that chain {plan.chain.name!r} crosses: "
                "attach nothing there, or remove the chain first"
            )


def _used(network: Network, plan: Plan, hops: Iterable[Hop]) -> Iterator[tuple[str, str]]:
    segment = network.segments[plan.segment]
    yield "segments", plan.segment
    for balancer in (segment.master, segment.slave):
        yield "balancers", balancer
        yield "switches", network.balancers[balancer].inner.switch
    for nf in (*plan.chain.nfs, *segment.fixed):
        yield "nfs", nf
        yield "switches", network.nfs[nf].switch
    for hop in hops:
        yield "switches", hop.out.switch
        yield "switches", hop.into.switch


def _check_same(section: str, name: str, plan: Plan, old: Any, new: Any) -> None:
    if old != new:
        verb = "taken away" if new is None else "changed"
        raise Conflict(
            f"{_WORDS[section]} {name!r} is used by chain {plan.chain.name!r}, so it can't be {verb}: "
            "remove the chain first"
        )
