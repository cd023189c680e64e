"""The rules that every switch has whatever is steered: classification, misses, hosts and outer ports.

Broadcast and multicast go out by explicit ports, never by a flood: an outer port that saw the frames of the
inner one would send them round for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.network import Network, Port
from controller.pipeline import (
    ANY_TAG,
    BASE_COOKIE,
    CHAINS,
    CLASSIFY,
    EDGE,
    EDGE_COOKIE,
    GROUP,
    LLDP,
    TABLES,
    UNTAGGED,
    Goto,
    Match,
    Output,
    Punt,
    Rule,
)


def base_rules(network: Network, switch: str, ports: Iterable[str]) -> list[Rule]:
    """Everything on `switch` that no chain asks for. `ports` are the names of its present ports.

    LLDP reaches the controller only from ports that the network file gives to nothing: a pair of load
    balancers looks like a wire between two switches, and a host must not be able to make up links.
    """
    rules = [Rule(switch, table.id, 0, Match(), (), BASE_COOKIE) for table in TABLES]
    attached = network.attached()
    rules += [
        _classify(switch, 30, Match(in_port=name, vlan=UNTAGGED, eth_type=LLDP), Punt())
        for name in sorted(ports)
        if Port(switch, name) not in attached
    ]
    rules.append(_classify(switch, 20, Match(vlan=ANY_TAG), Goto(CHAINS.id)))
    rules += [
        _classify(switch, 20, Match(in_port=port.name, vlan=UNTAGGED), Goto(CHAINS.id))
        for port in network.stripped_ports(switch)
    ]
    rules += [
        _classify(switch, 20, Match(in_port=port.name, vlan=UNTAGGED), Goto(EDGE.id))
        for port in [*network.host_ports(switch), *network.outers(switch)]
    ]
    return rules + edge_rules(network, switch)


def _classify(switch: str, priority: int, match: Match, action: Punt | Goto) -> Rule:
    return Rule(switch, CLASSIFY.id, priority, match, (action,), BASE_COOKIE)


def edge_rules(network: Network, switch: str) -> list[Rule]:
    """Untagged traffic among the hosts and outer ports of one switch.

    From a host: to a host of this switch directly, to anything else by the outer port. From an outer port:
    to hosts, and to a second outer port (two segments in a row meet here), never back.
    """
    hosts, outers = network.host_ports(switch), network.outers(switch)
    rules: list[Rule] = []
    for source in [*hosts, *outers]:
        for port, macs in hosts.items():
            out = (port,) if port != source else ()
            rules += [_edge(source, 30, mac, out) for mac in macs]
        others = [port for port in [*hosts, *outers] if port != source]
        rules.append(_edge(source, 20, GROUP, others))
        beyond = [port for port in outers if port != source]
        if beyond:
            rules.append(_edge(source, 10, None, beyond))
    return rules


def _edge(source: Port, priority: int, eth_dst: str | None, out: Iterable[Port]) -> Rule:
    actions = tuple(Output(port.name) for port in out)
    match = Match(in_port=source.name, eth_dst=eth_dst)
    return Rule(source.switch, EDGE.id, priority, match, actions, EDGE_COOKIE)
