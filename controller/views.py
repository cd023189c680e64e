"""The nouns of the pure modules as they go over the wire."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from catenary import wire
from catenary.explanations import HopView
from controller.hops import Met
from controller.network import Link, Network, Port
from controller.pipeline import CountedFlow, Rule, describe


def attachments(network: Network) -> dict[str, wire.PortRef]:
    """Where everything hangs: hosts by name, ports of others as `n1.ingress` and `l1.outer`."""
    found = {name: _ref(host.port) for name, host in network.hosts.items()}
    for name, nf in network.nfs.items():
        found[f"{name}.ingress"] = wire.PortRef(switch=nf.switch, port=nf.ingress)
        found[f"{name}.egress"] = wire.PortRef(switch=nf.switch, port=nf.egress)
    for name, balancer in network.balancers.items():
        found[f"{name}.outer"] = _ref(balancer.outer)
        found[f"{name}.inner"] = _ref(balancer.inner)
    return found


def link_view(link: Link) -> wire.LinkView:
    return wire.LinkView(a=_ref(link.a), b=_ref(link.b))


def rule_view(rule: Rule, counted: CountedFlow | None) -> wire.RuleView:
    """A rule with its counters; None: the switch does not have it."""
    return wire.RuleView(
        switch=rule.switch,
        table=rule.table,
        priority=rule.priority,
        cookie=rule.cookie,
        match=rule.match.given(),
        actions=[describe(action) for action in rule.actions],
        packets=counted.packets if counted else 0,
        bytes=counted.bytes if counted else 0,
        installed=counted is not None,
    )


def hop_view(met: Met, rule: wire.RuleView) -> HopView:
    return HopView(**rule.model_dump(), source=met.source, target=met.target)


def _ref(port: Port) -> wire.PortRef:
    return wire.PortRef(switch=port.switch, port=port.name)


def health_view(
    expected: Collection[str], missing: Collection[str], waits: Mapping[str, Sequence[str]]
) -> wire.ControllerHealth:
    """`missing` switches, and what each chain waits for."""
    faults = [f"switch {name} is not connected" for name in missing]
    faults += [f"chain {name} waits for {', '.join(what)}" for name, what in waits.items() if what]
    return wire.ControllerHealth(
        status="degraded" if faults else "ok",
        switches_connected=len(expected) - len(missing),
        switches_expected=len(expected),
        reason="; ".join(faults) or None,
    )
