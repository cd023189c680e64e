"""The rules that a switch has besides those of chains: classification, misses, hosts, fixed NFs, outer ports.

Broadcast and multicast go out by explicit ports, never by a flood: an outer port that saw the frames of the
inner one would send them round for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
    Action,
    Goto,
    Match,
    Output,
    Punt,
    Rule,
)


def base_rules(network: Network, switch: str, ports: Iterable[str]) -> list[Rule]:
    """Classification and misses, whatever is steered. `ports` are the names of its present ports.

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
    outers = network.outers(switch)
    # Alike wherever load balancers are: who takes a place finds its port classified.
    spare = sorted(lb.outer for lb in network.standbys.values() if lb.outer.switch == switch)
    fixed = [port for outer in outers for nf in network.fixed_before(outer) for port in nf]
    return rules + [
        _classify(switch, 20, Match(in_port=port.name, vlan=UNTAGGED), Goto(EDGE.id))
        for port in [*network.host_ports(switch), *outers, *spare, *fixed]
    ]


def _classify(switch: str, priority: int, match: Match, action: Punt | Goto) -> Rule:
    return Rule(switch, CLASSIFY.id, priority, match, (action,), BASE_COOKIE)


@dataclass(frozen=True)
class Way:
    """One side of an edge: frames come in by `port` (its classification done), and `out` sends them there."""

    port: Port
    out: tuple[Action, ...]

    @classmethod
    def of(cls, port: Port) -> Way:
        return cls(port, (Output(port.name),))


def edge_rules(network: Network, switch: str, ends: Mapping[Port, Way | None] | None = None) -> list[Rule]:
    """Untagged traffic among the hosts, fixed NFs and outer ports of one switch.

    Every outer port looks towards the hosts through the fixed NFs on its side of the pair, so they stand in a
    line: outer port, NF, NF, hosts, or the outer port of the next segment. `ends` says what takes the place
    of the outer ports of pairs that are not inserted (None: nothing does).
    """
    replaced = ends or {}
    rules: list[Rule] = []
    faces = []
    for outer in network.outers(switch):
        face = replaced[outer] if outer in replaced else Way.of(outer)
        for near, far in network.fixed_before(outer):
            rules += _joint({}, [way for way in (face, Way.of(near)) if way])
            face = Way.of(far)
        faces += [face] if face else []
    return rules + _joint(network.host_ports(switch), faces)


def _joint(hosts: Mapping[Port, Sequence[str]], ends: Sequence[Way]) -> list[Rule]:
    """Traffic where hosts and one end, or two ends, meet.

    From a host: to a host that is here directly, to anything else by the end. From an end: to the hosts, or
    to the other end, never back.
    """
    rules: list[Rule] = []
    here = [Way.of(port) for port in hosts]
    for source in [*here, *ends]:
        for port, macs in hosts.items():
            out = (Way.of(port),) if port != source.port else ()
            rules += [_edge(source.port, 30, mac, out) for mac in macs]
        # Ends come last: one of them may put a tag on.
        others = [way for way in [*here, *ends] if way.port != source.port]
        rules.append(_edge(source.port, 20, GROUP, others))
        beyond = [way for way in ends if way.port != source.port]
        if beyond:
            rules.append(_edge(source.port, 10, None, beyond))
    return rules


def _edge(source: Port, priority: int, eth_dst: str | None, out: Iterable[Way]) -> Rule:
    actions = tuple(action for way in out for action in way.out)
    match = Match(in_port=source.name, eth_dst=eth_dst)
    return Rule(source.switch, EDGE.id, priority, match, actions, EDGE_COOKIE)
