"""Rules and switches with the counters of the moment."""

from __future__ import annotations

from collections.abc import Sequence

from catenary import wire
from controller.fabric import Fabric
from controller.pipeline import BASE_COOKIE, CountedFlow, Flow, Rule, resolve
from controller.views import rule_view


def _counted(fabric: Fabric, switch: str, cookie: int | None = None) -> dict[Flow, CountedFlow]:
    """The flows of a switch, or those with this cookie; none of one that is not connected."""
    if not fabric.is_connected(switch):
        return {}
    return {found.flow: found for found in fabric.flows(switch, cookie)}


def rule_views(fabric: Fabric, rules: Sequence[Rule], cookie: int) -> dict[Rule, wire.RuleView]:
    """The rules, which all bear this cookie, as their switches have them; one that is not there says so."""
    views = {}
    for switch in sorted({rule.switch for rule in rules}):
        there = _counted(fabric, switch, cookie)
        ports = {port: live.number for port, live in fabric.ports(switch).items()}
        for rule in (rule for rule in rules if rule.switch == switch):
            flow = resolve(rule, ports)
            views[rule] = rule_view(rule, there.get(flow) if flow else None)
    return views


def switch_view(fabric: Fabric, name: str, dpid: int) -> wire.SwitchView:
    """A switch with what its table misses dropped."""
    there = _counted(fabric, name, BASE_COOKIE).items()
    return wire.SwitchView(
        name=name,
        dpid=dpid,
        connected=fabric.is_connected(name),
        ports=sorted(fabric.ports(name)),
        dropped_packets=sum(found.packets for flow, found in there if flow.is_miss),
    )
