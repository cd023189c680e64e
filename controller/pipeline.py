"""The tables of every switch, as data: what each may match and do. A rule that no table declares is refused.

    0 classify   LLDP of link ports -> controller; tagged, or from the port of a chain's NF without tags -> 1;
                 untagged from hosts, fixed NFs and outer ports -> 2
    1 chains     (in_port, vlan): chains, bypass, asks; what a chain without load balancers delivers -> 2
    2 edge       (in_port, eth_dst): hosts, fixed NFs and the outer ports of load balancers

What a table has no rule for meets its `miss`: a rule of priority 0 without action, which drops and counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from catenary.errors import InvalidValue

UNTAGGED = 0
ANY_TAG = -1
LLDP = 0x88CC
GROUP = "01:00:00:00:00:00/01:00:00:00:00:00"
"""Broadcast and multicast: the group bit of the destination address."""

IN_PORT = 0xFFFFFFF8
CONTROLLER = 0xFFFFFFFD
"""Reserved port numbers of OpenFlow 1.3.5, section 7.2.1."""

BASE_COOKIE = 0xB << 48
EDGE_COOKIE = 0xE << 48


@dataclass(frozen=True)
class Match:
    """What a rule looks at; None = anything.

    `vlan` is 1..4094, `UNTAGGED`, or `ANY_TAG`; `eth_dst` is an address, or `GROUP` (address/mask).
    """

    in_port: str | None = None
    vlan: int | None = None
    eth_type: int | None = None
    eth_dst: str | None = None

    def given(self) -> dict[str, str | int]:
        """The fields that are not left open, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Output:
    """Send out of a port; the port that the frame came in by is allowed."""

    port: str


@dataclass(frozen=True)
class PushTag:
    """Put a new outermost 802.1Q tag on the frame."""

    vid: int


@dataclass(frozen=True)
class PopTag:
    """Take the outermost tag off."""


@dataclass(frozen=True)
class Goto:
    """Go on in a later table."""

    table: int


@dataclass(frozen=True)
class Punt:
    """Send the whole frame to the controller."""


Action = Output | PushTag | PopTag | Goto | Punt


@dataclass(frozen=True)
class Table:
    """One table: the match fields and kinds of action that its rules may use, and where they may go on."""

    id: int
    name: str
    matches: frozenset[str]
    does: frozenset[type]
    next: frozenset[int] = frozenset()


CLASSIFY = Table(
    0, "classify", frozenset({"in_port", "vlan", "eth_type"}), frozenset({Goto, Punt}), frozenset({1, 2})
)
CHAINS = Table(
    1, "chains", frozenset({"in_port", "vlan"}), frozenset({Output, PushTag, PopTag, Goto}), frozenset({2})
)
EDGE = Table(2, "edge", frozenset({"in_port", "eth_dst"}), frozenset({Output, PushTag}))
TABLES = (CLASSIFY, CHAINS, EDGE)


@dataclass(frozen=True)
class Rule:
    """One OpenFlow rule, with ports by name. Priority 0 is the miss of its table; no action = drop."""

    switch: str
    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...]
    cookie: int

    def __post_init__(self) -> None:
        if not 0 <= self.table < len(TABLES):
            raise InvalidValue(f"table {self.table} is not declared: use 0..{len(TABLES) - 1}")
        table = TABLES[self.table]
        for name in self.match.given():
            if name not in table.matches:
                raise InvalidValue(f"table {table.name!r} does not match on {name!r}: {self}")
        for action in self.actions:
            if type(action) not in table.does:
                raise InvalidValue(f"table {table.name!r} does not allow {action}: {self}")
            if isinstance(action, Goto) and action.table not in table.next:
                raise InvalidValue(f"table {table.name!r} does not lead to table {action.table}: {self}")
        if self.priority == 0 and (self.match.given() or self.actions):
            raise InvalidValue(f"priority 0 is the miss of table {table.name!r}, and that only drops: {self}")

    def ports(self) -> set[str]:
        """Every port that the rule names."""
        named = {action.port for action in self.actions if isinstance(action, Output)}
        return named | ({self.match.in_port} if self.match.in_port is not None else set())


@dataclass(frozen=True)
class FlowMatch:
    """`Match` with the port as a number of the switch."""

    in_port: int | None = None
    vlan: int | None = None
    eth_type: int | None = None
    eth_dst: str | None = None


@dataclass(frozen=True)
class Flow:
    """A rule as a switch holds it, ports by number; `actions` are (verb, number) in order.

    Verbs: output, push (VLAN ID), pop, goto (table). `foreign` is not empty for a flow that no rule of ours
    can be, and `origin` is the match as the switch gave it, by which exactly that flow can be deleted.
    """

    table: int
    priority: int
    cookie: int
    match: FlowMatch
    actions: tuple[tuple[str, int], ...]
    foreign: str = ""
    origin: object = field(default=None, compare=False, repr=False)

    @property
    def is_miss(self) -> bool:
        return self.priority == 0


@dataclass(frozen=True)
class CountedFlow:
    """A flow of a switch with its counters."""

    flow: Flow
    packets: int
    bytes: int


def resolve(rule: Rule, ports: Mapping[str, int]) -> Flow | None:
    """The flow of a rule on a switch with these ports (name to number), or None when one is missing."""
    if not rule.ports() <= ports.keys():
        return None
    match = rule.match
    in_port = None if match.in_port is None else ports[match.in_port]
    return Flow(
        rule.table,
        rule.priority,
        rule.cookie,
        FlowMatch(in_port, match.vlan, match.eth_type, match.eth_dst),
        tuple(_resolve_action(action, in_port, ports) for action in rule.actions),
    )


def _resolve_action(action: Action, in_port: int | None, ports: Mapping[str, int]) -> tuple[str, int]:
    match action:
        case Output(port):
            # A switch never sends a frame back by the number of its own port: that takes the reserved one.
            return "output", IN_PORT if ports[port] == in_port else ports[port]
        case PushTag(vid):
            return "push", vid
        case PopTag():
            return "pop", 0
        case Goto(table):
            return "goto", table
        case Punt():
            return "output", CONTROLLER


def describe(action: Action) -> str:
    """The action as people read it."""
    match action:
        case Output(port):
            return f"output:{port}"
        case PushTag(vid):
            return f"push_vlan:{vid}"
        case PopTag():
            return "pop_vlan"
        case Goto(table):
            return f"goto_table:{table}"
        case Punt():
            return "output:controller"


def difference(desired: Iterable[Flow], present: Iterable[Flow]) -> tuple[list[Flow], list[Flow]]:
    """(flows to add or replace, flows to delete) that turn `present` into `desired`.

    A flow that is right already is in neither list, so its traffic and its counters go on untouched.
    """
    wanted, there = set(desired), set(present)
    keys = {(flow.table, flow.priority, flow.match) for flow in wanted}
    stale = [
        flow for flow in there - wanted if flow.foreign or (flow.table, flow.priority, flow.match) not in keys
    ]
    return sorted(wanted - there, key=_order), sorted(stale, key=_order)


def _order(flow: Flow) -> tuple[int, int, str]:
    """Later tables first, so that no frame is sent on to a table which is not filled yet."""
    return -flow.table, -flow.priority, repr(flow.match)
