"""Frames walked through the rules of a network, and the networks that this is done on."""

from __future__ import annotations

from catenary.chain import Chain, NetworkFunction, TagMode
from catenary.tags import TagPair
from controller.edge import base_rules, edge_rules
from controller.network import Balancer, Host, Link, Network, Port, Segment, Topology
from controller.pipeline import ANY_TAG, GROUP, UNTAGGED, Goto, Match, Output, PopTag, PushTag, Rule
from controller.steering import Plan, ask_rules, chain_rules, plan_asks

ASK = 4094


def link(a: str, b: str, which: int = 0) -> Link:
    return Link.of(Port(a, f"to-{b}-{which}"), Port(b, f"to-{a}-{which}"))


def network(
    nfs: dict[str, tuple[str, TagMode, bool]], switches: int = 5, l1: str = "s1", l2: str = "s2"
) -> Network:
    """NFs as name: (switch, tags, one port)."""
    return Network(
        switches={f"s{n}": n for n in range(1, switches + 1)},
        hosts={
            "h1": Host(Port(l1, "h1"), "00:00:00:00:00:01"),
            "h3": Host(Port(l1, "h3"), "00:00:00:00:00:03"),
        }
        if l1 != l2
        else {},
        nfs={
            name: NetworkFunction(name, switch, f"{name}-in", f"{name}-in" if one else f"{name}-out", tags)
            for name, (switch, tags, one) in nfs.items()
        },
        balancers={
            "l1": Balancer(Port(l1, "l1-outer"), Port(l1, "l1-inner")),
            "l2": Balancer(Port(l2, "l2-outer"), Port(l2, "l2-inner")),
        },
        segments={"main": Segment("l1", "l2", ASK)},
    )


STRIPPED, KEPT = TagMode.STRIPPED, TagMode.KEPT
PAPER = network({"n1": ("s3", STRIPPED, False), "n2": ("s4", STRIPPED, False), "n3": ("s5", STRIPPED, False)})
PAPER_LINKS = frozenset(link(a, b) for a in ("s1", "s2") for b in ("s3", "s4", "s5"))
PAPER_TOPOLOGY = Topology(frozenset(PAPER.switches), PAPER_LINKS)


def chain(name: str, forward: int, *nfs: str) -> Chain:
    return Chain(name, nfs, TagPair(forward, forward + 1))


# --- a walk through the rules --------------------------------------------------------------------------


class Walker:
    """Carries frames through rules and links, as a switch would: highest priority, then the next table."""

    def __init__(self, network: Network, topology: Topology, rules: list[Rule]) -> None:
        self._network = network
        self._peers = {a: b for one in topology.links for a, b in ((one.a, one.b), (one.b, one.a))}
        self._rules = rules

    def go(self, at: Port, vid: int, dst: str = "00:00:00:00:00:09") -> list[tuple[Port, int]]:
        """Where a frame that enters at a port leaves the switches, with its VLAN ID; [] if it is dropped."""
        out = self._switch(at, vid, dst)
        ends = []
        for port, tag in out:
            peer = self._peers.get(port)
            ends += [(port, tag)] if peer is None else self.go(peer, tag, dst)
        return ends

    def _switch(self, at: Port, vid: int, dst: str) -> list[tuple[Port, int]]:
        table: int | None = 0
        out: list[tuple[Port, int]] = []
        while table is not None:
            fits = [
                r
                for r in self._rules
                if (r.switch, r.table) == (at.switch, table) and hit(r.match, at, vid, dst)
            ]
            best = max(fits, key=lambda r: r.priority)
            assert sum(r.priority == best.priority for r in fits) == 1, fits
            table = None
            for action in best.actions:
                match action:
                    case Output(name):
                        out.append((Port(at.switch, name), vid))
                    case PushTag(new):
                        assert vid == UNTAGGED
                        vid = new
                    case PopTag():
                        assert vid != UNTAGGED
                        vid = UNTAGGED
                    case Goto(later):
                        table = later
        return out


def hit(match: Match, at: Port, vid: int, dst: str) -> bool:
    group = int(dst[:2], 16) & 1
    return (
        match.in_port in (None, at.name)
        and (match.vlan in (None, vid) or (match.vlan == ANY_TAG and vid != UNTAGGED))
        and match.eth_type is None
        and (match.eth_dst in (None, dst) or (match.eth_dst == GROUP and group == 1))
    )


def walker(network: Network, topology: Topology, plans: list[Plan]) -> Walker:
    """All rules of inserted chains."""
    rules = [rule for name in network.switches for rule in edge_rules(network, name)]
    rules += [rule for plan in plans for rule in chain_rules(network, plan)]
    return walker_of(network, topology, rules)


def walker_of(network: Network, topology: Topology, rules: list[Rule]) -> Walker:
    """These rules beside classification, misses and asks."""
    ports: dict[str, set[str]] = {name: set() for name in network.switches}
    for one in topology.links:
        for port in (one.a, one.b):
            ports[port.switch].add(port.name)
    for port in network.attached():
        ports[port.switch].add(port.name)
    base = [rule for name in network.switches for rule in base_rules(network, name, ports[name])]
    asks = ask_rules(network, plan_asks(network, topology, "main"))
    return Walker(network, topology, [*base, *asks, *rules])
