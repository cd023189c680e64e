"""What load balancers are told and tell: the management system their orders, each other the chain set."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, StrictBool, model_validator

from catenary import classifier as _classifier
from catenary import session as _session
from catenary.chain import WEIGHT_DEFAULT, Condition, PairState
from catenary.wire.common import (
    EXPLAINED,
    Model,
    Name,
    Prefix,
    SessionText,
    Tags,
    VlanId,
    Weight,
    checked,
    examples,
)
from catenary.wire.health import HealthCheckModel, PairHealth

PROTOCOL = 7
"""Version of what master and slave say to each other; both refuse another one."""

Epoch = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Slot = Annotated[int, Strict(), Field(ge=0, lt=1024)]
Generation = Annotated[int, Strict(), Field(ge=0, lt=1024)]
Term = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Idle = Annotated[float, Strict(), Field(ge=0, le=1e6)]
"""Seconds without a packet; in ms it fits 32 bits."""
Role = Literal["master", "slave"]
SweepMode = Literal["reset", "delete"]
Then = Literal["reset", "rebalance"]
"""What becomes of the sessions that are left when a removal's deadline has come."""


class PairWeight(Tags):
    """A tag pair with the weight of its chain (0 = cordoned)."""

    weight: Weight = WEIGHT_DEFAULT


class PairAdd(PairWeight):
    """A tag pair to add. A `bypass` is of no chain: it takes what the classifier does not match."""

    bypass: StrictBool = False


class TrafficRule(Model):
    """Traffic that enters the chains: what agrees with all that is given, in both directions alike.

    `entry` is the entry of the classifier that it belongs to, by which it is counted. `client` and `server`
    are prefixes of the two sides, `protocol` an IP protocol number, `ports` the first and the last of the
    servers' side, `vlan` the ID of a tag that the user's frames bear.
    """

    entry: Annotated[int, Strict()]
    client: Prefix | None = None
    server: Prefix | None = None
    protocol: Annotated[int, Strict()] | None = None
    ports: tuple[Annotated[int, Strict()], Annotated[int, Strict()]] | None = None
    vlan: VlanId | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        checked(self.rule)
        return self

    def rule(self) -> _classifier.Rule:
        return _classifier.Rule(**{name: getattr(self, name) for name in type(self).model_fields})

    @classmethod
    def of(cls, rule: _classifier.Rule) -> Self:
        return cls.model_construct(**vars(rule))


Classifier = Annotated[list[TrafficRule], Field(max_length=_classifier.RULES_MAX)]


class Change(Model):
    """Several adds and removes in one epoch. All of it happens, or nothing.

    `cancel` takes back pairs that cool down, `forget` frees pairs that are drained; `expect_epoch`, when
    given, must be the present one. While the session table overflows the chain set may not change, unless
    `force`. A `classifier` takes the place of the one before; what agrees with none of its rules goes by the
    pair that is a bypass. An empty one ends classifying: all enters.
    """

    model_config = examples({"add": [{"forward": 6, "reverse": 7}], "remove": [{"forward": 2, "reverse": 3}]})

    add: list[PairAdd] = []
    remove: list[Tags] = []
    cancel: list[Tags] = []
    forget: list[Tags] = []
    classifier: Classifier | None = None
    expect_epoch: Epoch | None = None
    force: StrictBool = False


class PairView(PairAdd):
    """A tag pair as an LB holds it. `slot` and `generation` are what pins store.

    `health` is what probes say of it, as a master tells who asks for its pairs.
    """

    slot: Slot
    generation: Generation
    state: PairState
    condition: Condition = Condition.UP
    health: PairHealth | None = None


class FreeSlot(Model):
    """A slot that no pair has now, with the last generation that it had."""

    slot: Slot
    generation: Generation


class ChainSet(Model):
    """The chain set of a segment at one epoch: the answer to a change, and what a master sends its slave.

    `designated` is the slot that carries what is no session; None while there is no chain. `free` are slots
    that were used: who begins anew by this must not give their generations twice. Without a `classifier` all
    traffic enters, and without a `health` check nobody knows of chains that are down.
    """

    segment: Name
    epoch: Epoch
    designated: Slot | None
    pairs: list[PairView]
    free: list[FreeSlot] = Field(default_factory=list)
    classifier: Classifier = Field(default_factory=list)
    health: HealthCheckModel | None = None


class HealthOrder(Model):
    """How chains are probed from now on; null: not at all."""

    model_config = examples({"health": {"kind": "raw", "interval": 0.5, "timeout": 0.2}}, {"health": None})

    health: HealthCheckModel | None


_Timeout = Annotated[float, Strict()]


def _timeout(name: str) -> Any:
    """Default, meaning and bounds as the vocabulary has them."""
    known: Any = _session.Timeouts.__dataclass_fields__[name]
    bounds: Any = {"minimum": _session.TIMEOUT_MIN, "maximum": _session.TIMEOUT_MAX}
    return Field(known.default, description=known.metadata["meaning"], json_schema_extra=bounds)


class TimeoutsModel(Model):
    """`catenary.session.Timeouts` on the wire, in seconds."""

    tcp_opening: _Timeout = _timeout("tcp_opening")
    tcp_established: _Timeout = _timeout("tcp_established")
    tcp_closing: _Timeout = _timeout("tcp_closing")
    udp: _Timeout = _timeout("udp")
    other: _Timeout = _timeout("other")
    neighbour: _Timeout = _timeout("neighbour")
    lease: _Timeout = _timeout("lease")
    transit: _Timeout = _timeout("transit")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        checked(self.timeouts)
        return self

    def timeouts(self) -> _session.Timeouts:
        return _session.Timeouts(**vars(self))


class PairActivity(Tags):
    """The answer to "active?" of one pair at one LB: `active` is false once nothing of it is left there."""

    state: PairState
    active: bool
    sessions: int


class PairStats(Tags):
    """Counters of one pair at one LB since its generation began; forward = client to server."""

    slot: int
    """what its pins store in place of its tags"""
    bypass: bool = False
    """does it carry what passes by the chains?"""
    state: PairState
    sessions: int
    """sessions that live now; those that are closing out are not among them"""
    new_sessions: int
    """sessions that were placed or learned"""
    forward_packets: int
    """packets, as the kernel hands them over: segments that it merged are one"""
    forward_bytes: int
    """bytes of their Ethernet frames, without the chain's tag"""
    reverse_packets: int
    """packets"""
    reverse_bytes: int
    """bytes"""
    reset: int = 0
    """sessions that an order reset"""
    moved: int = 0
    """sessions that an order moved"""
    condition: Condition = Condition.UP
    """does it take new sessions (up), keep what it has (down), or neither (shut)?"""
    health: PairHealth | None = None
    """what probes say of it; null where none are sent, and at a slave"""


class BalancerStats(Model):
    """Statistics of an LB."""

    model_config = EXPLAINED

    health: BalancerHealth
    """how it is"""
    role: Role
    segment: Name
    epoch: int
    """version of its chain set; it only grows"""
    pins: int
    """sessions in its table, in whatever state"""
    capacity: int
    """sessions that its table has room for"""
    overflow: bool
    """is the table full, so that the plain hash places new sessions?"""
    pairs: list[PairStats]
    """each tag pair of the chain set"""
    states: dict[str, int] = {}
    """sessions of all chains by state, also those that are closing out; a reset one is nobody's"""
    counters: dict[str, int]
    """packets and events by reason, since its tables were made"""
    entered: list[int] = []
    """new sessions by the entry of the classifier that they agreed with, since it is in force"""
    peer: BalancerStats | None = None
    """of a master: its slave's; null while it does not follow, or does not give them"""


class Rebalance(Model):
    """A re-balance request: new sessions only. With `weights`, these are the operator's from now on.

    While the session table overflows weights may not change, unless `force`. With `move_idle`, sessions
    without a packet for as many seconds, but no less than lease + 2 D, are placed anew at their next one.
    """

    model_config = examples({}, {"weights": [{"forward": 2, "reverse": 3, "weight": 50}], "move_idle": 300})

    weights: list[PairWeight] = []
    force: StrictBool = False
    move_idle: Idle | None = None


class Rebalanced(ChainSet):
    """The chain set, and how many idle sessions were let go."""

    moved: int = 0


class Ending(Model):
    """End what is left of a pair that is being removed: `reset` tells both ends, `rebalance` moves them."""

    then: Then


class PairEnded(PairActivity):
    """How many sessions of a pair were reset and moved since it began; `sessions` are left."""

    reset: int
    moved: int


class SessionOrder(Model):
    """Reset one session, or move it to another chain."""

    key: SessionText
    mode: Literal["reset", "move"]


class SessionView(Model):
    """A session at a master: its chain's tags, none if it was reset or its chain is just being forgotten."""

    key: SessionText
    state: str
    tags: Tags | None


class PeerHealth(Model):
    """`instance` is the process that the peer is, if it is known.

    `lag`, where chains rewrite: s since the last exchange of keys began. What is younger, a loss would lose.
    `standby` is the other address at which a master looks for its slave.
    """

    url: str | None
    connected: bool
    instance: str | None = None
    reason: str | None = None
    lag: float | None = None
    standby: str | None = None


class StandbyHealth(Model):
    """How far a standby is in step with the load balancer `of` whose place it would take.

    `silent`: s since anything came from that one; `lag`: s since it last had the same pins, null before it
    had them once. In what state it is: `following`, `taking_over`, or `active` once it took that one's place.
    """

    of: str
    state: Literal["following", "taking_over", "active"]
    silent: float
    lag: float | None = None
    pins: int = 0
    reason: str | None = None


class BalancerHealth(Model):
    """How an LB is, and what it runs with. A slave has ask ID and timeouts from its master, once they met.

    `reason` says what the daemon's last tick failed at, or that a slave's asks get no answers; what its peer
    lacks is there. `capabilities` are what it may do beyond its user's rights, as the kernel has it.
    `clock_ms` is the clock by which its pins age, modulo 2^32. `term`: how often a standby took the master's
    place, `slave_term` the slave's.
    """

    status: Literal["ok", "degraded"]
    reason: str | None = None
    role: Role
    segment: Name
    data_plane: str
    epoch: int
    instance: str
    ask_id: VlanId | None
    timeouts: TimeoutsModel
    rewrites: bool
    capabilities: list[str] = []
    peer: PeerHealth
    clock_ms: int = 0
    term: int = 0
    slave_term: int = 0
    standby: StandbyHealth | None = None
