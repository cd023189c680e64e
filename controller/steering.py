"""From "this chain with this tag pair crosses these NFs" to flow rules: a pure function of the topology.

    master.inner --f--> NF a --f--> NF b --f--> slave.inner      forward legs, one between each two places
    master.inner <--r-- NF a <--r-- NF b <--r-- slave.inner      the same legs backwards
    master.inner <--f (hint), ask-- bypass --r (answer)--> slave.inner

On every switch a key (in_port, VLAN ID) has one meaning. Where the shortest path would give it a second one,
other paths are tried, shortest first; when none is left the chain is refused and the place is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import networkx as nx

from catenary.chain import Chain, NetworkFunction, TagMode
from catenary.errors import Conflict, InvalidValue
from controller.network import Link, Network, Port, Segment, Topology
from controller.pipeline import CHAINS, UNTAGGED, Action, Match, Output, PopTag, PushTag, Rule

PATHS_TRIED = 16
"""Paths tried between each two places of a chain, shortest first."""
STEPS_TRIED = 5000
"""Bound of the whole search: a chain of ten NFs in a meshed network must be answered in seconds."""

CHAIN_PRIORITY = 10


class NoPath(Conflict):
    """The links that are there now don't allow this chain; with more of them it may be allowed."""


@dataclass(frozen=True)
class Hop:
    """One crossing of a link: out of a port of one switch, into a port of the next."""

    out: Port
    into: Port

    def back(self) -> Hop:
        return Hop(self.into, self.out)

    @property
    def link(self) -> Link:
        return Link.of(self.out, self.into)


Path = tuple[Hop, ...]
"""The hops from one switch to another; empty when they are the same."""


@dataclass(frozen=True)
class Plan:
    """A chain with its paths: all that its rules depend on besides the network file.

    `legs` are the paths between master, NFs and slave in forward order, one more than there are NFs.
    `bypass` leads from the slave's switch to the master's, past the NFs.
    """

    chain: Chain
    segment: str
    legs: tuple[Path, ...]
    bypass: Path

    def links(self) -> frozenset[Link]:
        return frozenset(hop.link for path in (*self.legs, self.bypass) for hop in path)


@dataclass(frozen=True)
class AskPlan:
    """The path of a segment's asks, from the slave's switch to the master's."""

    segment: str
    bypass: Path


Key = tuple[str, str, int]
"""(switch, in_port, VLAN ID): what must have one meaning."""


def chain_cookie(name: str) -> int:
    """The cookie of a chain: stable over restarts, below 2^53 so that every JSON reader keeps it whole."""
    return 0xC << 48 | _digest(name)


def segment_cookie(name: str) -> int:
    """The cookie of what a segment needs besides its chains: the path of its asks."""
    return 0xA << 48 | _digest(name)


def around_cookie(name: str) -> int:
    """The cookie of the path around a segment."""
    return 0xD << 48 | _digest(name)


def fence_cookie(name: str) -> int:
    """The cookie of what cuts off a load balancer."""
    return 0xF << 48 | _digest(name)


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest())


def chain_rules(network: Network, plan: Plan) -> list[Rule]:
    """All rules of a chain: forward, reverse, hint and answer."""
    segment = _segment(network, plan.segment)
    places = _places(network, segment, plan.chain.nfs)
    return [rule for way in _ways(places, plan) for rule in _leg_rules(*way, plan.chain)]


def ask_rules(network: Network, plan: AskPlan) -> list[Rule]:
    """The rules that carry a segment's asks from the slave to the master."""
    segment = _segment(network, plan.segment)
    start, end = network.balancers[segment.slave].inner, network.balancers[segment.master].inner
    return _carry(_Side(start), plan.bypass, _Side(end), segment.ask_id, segment_cookie(plan.segment))


def plan_chain(
    network: Network, topology: Topology, chain: Chain, segment: str, others: Collection[Plan]
) -> Plan:
    """Find paths for `chain` beside the chains that are there.

    Raises `InvalidValue` for an NF or segment that the network file does not have, `Conflict` when a tag or
    an NF is taken, and its kind `NoPath` when every path would give a key a second meaning, or none is there.
    """
    pair = _segment(network, segment)
    places = _places(network, pair, chain.nfs)
    _check_tags(network, chain, others)
    _check_nfs(network, chain, others)
    graph = _graph(topology)
    slave, master = network.balancers[pair.slave].inner, network.balancers[pair.master].inner
    taken = {key: plan.chain.name for plan in others for key in keys(network, plan)}
    stages = [
        _Stage(f"{start.port.switch} to {end.port.switch}", start.port.switch, end.port.switch, start, end)
        for start, end in pairwise(places)
    ]
    stages.append(_Stage("the bypass path", slave.switch, master.switch, places[-1], places[0]))
    search = _Search(graph, chain, stages, taken)
    paths = search.run()
    return Plan(chain, segment, tuple(paths[:-1]), paths[-1])


def plan_asks(network: Network, topology: Topology, segment: str) -> AskPlan:
    """The shortest path for asks; no chain can stand in its way, for no chain may use an ask ID."""
    pair = _segment(network, segment)
    start, end = network.balancers[pair.slave].inner.switch, network.balancers[pair.master].inner.switch
    return AskPlan(segment, next(_paths(_graph(topology), start, end)))


def keys(network: Network, plan: Plan) -> Iterator[Key]:
    """Those of all rules of a chain, told without making the rules: each new chain is held against all."""
    places = _places(network, _segment(network, plan.segment), plan.chain.nfs)
    for way in _ways(places, plan):
        yield from _leg_keys(*way, plan.chain)


def route(network: Network, plan: Plan) -> list[str]:
    """Every switch and NF in forward order, from the master's switch to the slave's."""
    names = [network.balancers[_segment(network, plan.segment).master].inner.switch]
    for index, leg in enumerate(plan.legs):
        names += [hop.into.switch for hop in leg]
        if index < len(plan.chain.nfs):
            names += [plan.chain.nfs[index], network.nfs[plan.chain.nfs[index]].switch]
    return names


# --- places and legs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """One end of a leg: a port, and whether the frames there carry no tag."""

    port: Port
    stripped: bool = False


@dataclass(frozen=True)
class _Place:
    """What a chain crosses: where forward frames go in and where they come out again."""

    entry: _Side
    exit: _Side

    @property
    def port(self) -> Port:
        return self.entry.port


def _segment(network: Network, name: str) -> Segment:
    if name not in network.segments:
        raise InvalidValue(f"segment {name!r} is not in the network file: use {_listed(network.segments)}")
    return network.segments[name]


def _nf(network: Network, name: str) -> NetworkFunction:
    if name not in network.nfs:
        raise InvalidValue(f"NF {name!r} is not in the network file: use {_listed(network.nfs)}")
    return network.nfs[name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "(it has none)"


def _places(network: Network, segment: Segment, nfs: Iterable[str]) -> list[_Place]:
    ends = [_Side(network.balancers[name].inner) for name in (segment.master, segment.slave)]
    middle = []
    for name in nfs:
        nf = _nf(network, name)
        stripped = nf.tags is TagMode.STRIPPED
        middle.append(
            _Place(_Side(Port(nf.switch, nf.ingress), stripped), _Side(Port(nf.switch, nf.egress), stripped))
        )
    return [_Place(ends[0], ends[0]), *middle, _Place(ends[1], ends[1])]


def _ways(places: Sequence[_Place], plan: Plan) -> list[tuple[_Place, _Place, Path]]:
    """The legs, and the bypass path, which is one from the slave to the master: hints there, answers back."""
    legs = [(*ends, leg) for ends, leg in zip(pairwise(places), plan.legs, strict=True)]
    return [*legs, (places[-1], places[0], plan.bypass)]


def _leg_keys(start: _Place, end: _Place, leg: Path, chain: Chain) -> list[Key]:
    """Those of the leg's rules; one that stands here twice is ambiguous."""
    found = []
    back = tuple(hop.back() for hop in reversed(leg))
    for side, path, vid in (
        (start.exit, leg, chain.tags.forward),
        (end.entry, back, chain.tags.reverse),
    ):
        found.append((side.port.switch, side.port.name, UNTAGGED if side.stripped else vid))
        found += [(hop.into.switch, hop.into.name, vid) for hop in path]
    return found


def _leg_rules(start: _Place, end: _Place, leg: Path, chain: Chain) -> list[Rule]:
    cookie = chain_cookie(chain.name)
    back = tuple(hop.back() for hop in reversed(leg))
    return [
        *_carry(start.exit, leg, end.entry, chain.tags.forward, cookie),
        *_carry(end.entry, back, start.exit, chain.tags.reverse, cookie),
    ]


def _carry(start: _Side, path: Path, end: _Side, vid: int, cookie: int) -> list[Rule]:
    """One rule a switch that takes frames of `vid` from a port to a port; the tag is on at every link."""
    rules = []
    ins, outs = [start.port, *(hop.into for hop in path)], [*(hop.out for hop in path), end.port]
    for index, (here, out) in enumerate(zip(ins, outs, strict=True)):
        arrives = index > 0 or not start.stripped
        leaves = index < len(path) or not end.stripped
        actions: list[Action] = []
        if leaves and not arrives:
            actions.append(PushTag(vid))
        if arrives and not leaves:
            actions.append(PopTag())
        actions.append(Output(out.name))
        match = Match(in_port=here.name, vlan=vid if arrives else UNTAGGED)
        rules.append(Rule(here.switch, CHAINS.id, CHAIN_PRIORITY, match, tuple(actions), cookie))
    return rules


# --- checks --------------------------------------------------------------------------------------------


def _check_tags(network: Network, chain: Chain, others: Collection[Plan]) -> None:
    users = {vid: f"chain {plan.chain.name!r}" for plan in others for vid in plan.chain.tags.ids}
    users |= {seg.ask_id: f"segment {name!r} (its ask ID)" for name, seg in network.segments.items()}
    for vid in chain.tags.ids:
        if vid in users:
            raise Conflict(
                f"VLAN ID {vid} of tag pair {chain.tags} is in use by {users[vid]}: choose another"
            )


def _check_nfs(network: Network, chain: Chain, others: Collection[Plan]) -> None:
    fixed = network.fixed()
    for name in chain.nfs:
        if name in fixed:
            raise Conflict(
                f"NF {name!r} stands fixed at segment {fixed[name]!r}: it can't be part of a chain too; "
                "use another NF"
            )
    users = {nf: plan.chain.name for plan in others for nf in plan.chain.nfs}
    for name in chain.nfs:
        if name in users and network.nfs[name].tags is TagMode.STRIPPED:
            raise Conflict(
                f"NF {name!r} serves chain {users[name]!r} already, and without tags it can serve one chain "
                "at a time: name another NF, or set tags: kept"
            )


# --- paths ---------------------------------------------------------------------------------------------


def _graph(topology: Topology) -> nx.Graph[str | Link]:
    """Switches and links are both nodes, so that parallel links are paths of their own."""
    graph: nx.Graph[str | Link] = nx.Graph()
    graph.add_nodes_from(sorted(topology.switches))
    for link in sorted(topology.links):
        if {link.a.switch, link.b.switch} <= topology.switches and link.a.switch != link.b.switch:
            graph.add_edge(link.a.switch, link)
            graph.add_edge(link, link.b.switch)
    return graph


def _paths(graph: nx.Graph[str | Link], start: str, end: str) -> Iterator[Path]:
    """Paths without a loop, shortest first; raises `NoPath` that names the two switches."""
    if start == end:
        yield ()
        return
    try:
        for nodes in islice(nx.shortest_simple_paths(graph, start, end), PATHS_TRIED):
            yield tuple(_hops(nodes))
    except (nx.NetworkXNoPath, nx.NodeNotFound):
        raise NoPath(
            f"there is no path from switch {start!r} to switch {end!r}: check the links between them"
        ) from None


def _hops(nodes: list[str | Link]) -> Iterator[Hop]:
    for before, link in zip(nodes[::2], nodes[1::2], strict=False):
        assert isinstance(link, Link)
        yield Hop(link.a, link.b) if link.a.switch == before else Hop(link.b, link.a)


@dataclass(frozen=True)
class _Stage:
    """One path to be found: a leg between two places, or the bypass."""

    what: str
    start: str
    end: str
    before: _Place
    after: _Place


class _Search:
    """Depth-first over the stages, paths shortest first, passing over those that make a key ambiguous."""

    def __init__(
        self,
        graph: nx.Graph[str | Link],
        chain: Chain,
        stages: list[_Stage],
        taken: Mapping[Key, str],
    ) -> None:
        self._chain, self._stages, self._taken = chain, stages, taken
        self._choices = [list(_paths(graph, stage.start, stage.end)) for stage in stages]
        self._steps = 0
        self._clash = ""

    def run(self) -> list[Path]:
        found = self._extend([], frozenset())
        if found is None:
            raise NoPath(
                f"chain {self._chain.name!r} can't be steered: {self._clash}, and no other path avoids it; "
                "use other NFs or add a link"
            )
        return found

    def _extend(self, chosen: list[Path], used: frozenset[Key]) -> list[Path] | None:
        if len(chosen) == len(self._stages):
            return chosen
        for path in self._choices[len(chosen)]:
            self._steps += 1
            if self._steps > STEPS_TRIED:
                return None
            stage = self._stages[len(chosen)]
            fresh = _leg_keys(stage.before, stage.after, path, self._chain)
            clash = next((key for key in fresh if key in used or key in self._taken), None)
            if clash is not None:
                self._note(clash)
                continue
            found = self._extend([*chosen, path], used | frozenset(fresh))
            if found is not None:
                return found
        return None

    def _note(self, clash: Key) -> None:
        switch, port, vid = clash
        frames = "frames without a tag" if vid == UNTAGGED else f"frames of VLAN ID {vid}"
        owner = f" (chain {self._taken[clash]!r} has it)" if clash in self._taken else ""
        self._clash = self._clash or (
            f"on switch {switch!r}, {frames} from port {port!r} would have to go two ways{owner}"
        )
