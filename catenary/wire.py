"""What goes over the wire: the pydantic models of all three REST services. Those of the file: `config`.

The services never import each other; this page is what they agree on. Unknown keys are refused everywhere.
Times are seconds, sizes bytes, moments seconds since the epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict

from catenary import chain as _chain
from catenary import session as _session
from catenary import tags as _tags
from catenary.chain import WEIGHT_DEFAULT, WEIGHT_MAX, ChainState, PairState
from catenary.errors import CatenaryError

FAULTS_SHOWN = 10
PROTOCOL = 2
"""Version of what master and slave say to each other; both refuse another one."""

T = TypeVar("T")
Name = Annotated[
    str,
    AfterValidator(lambda name: _checked(lambda: _chain.check_name(name))),
    WithJsonSchema({"type": "string", "pattern": f"^{_chain.NAME}$"}),
]
VlanId = Annotated[
    int,
    Strict(),
    AfterValidator(lambda vid: _checked(lambda: _tags.check_vlan_id(vid))),
    WithJsonSchema({"type": "integer", "minimum": _tags.VLAN_ID_MIN, "maximum": _tags.VLAN_ID_MAX}),
]
SessionText = Annotated[
    str,
    AfterValidator(lambda text: _checked(lambda: _session.SessionKey.parse(text)).text),
    Field(
        description="a session: PROTOCOL END END",
        examples=["tcp 10.0.0.1:4000 10.0.0.2:80", "udp [fd00::1]:53 [fd00::2]:4000 vlan=5"],
    ),
]
"""A session, written as `SessionKey.parse` reads it."""
Epoch = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Slot = Annotated[int, Strict(), Field(ge=0, lt=1024)]
Generation = Annotated[int, Strict(), Field(ge=0, lt=1024)]
Idle = Annotated[float, Strict(), Field(ge=0, le=1e6)]
"""Seconds without a packet; in ms it fits 32 bits."""
Weight = Annotated[int, Strict(), Field(ge=0, le=WEIGHT_MAX)]
Role = Literal["master", "slave"]
Affinity = Literal["session", "addresses", "client"]
Then = Literal["reset", "rebalance"]
"""What becomes of the sessions that are left when a removal's deadline has come."""

HistoryKind = Literal[
    "add",
    "remove",
    "cancel",
    "apply",
    "cordon",
    "uncordon",
    "weight",
    "rebalance",
    "insert",
    "session",
    "state",
    "failure",
    "epoch",
    "fault",
]
"""What happened: a request, or what the management system did or saw (`state` and the last three)."""


def _checked(call: Callable[[], T]) -> T:
    """Run a validator of the vocabulary; pydantic wants its refusals as `ValueError`."""
    try:
        return call()
    except CatenaryError as error:
        raise ValueError(error.detail) from error


class Model(BaseModel):
    """Base of all messages: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _examples(*bodies: JsonDict) -> ConfigDict:
    """What stands as examples on the OpenAPI page."""
    return ConfigDict(json_schema_extra={"examples": [*bodies]})


class Problem(Model):
    """An error (RFC 9457), sent as `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None


class Tags(Model):
    """A tag pair."""

    forward: VlanId
    reverse: VlanId

    @model_validator(mode="after")
    def _differ(self) -> Self:
        _checked(self.pair)
        return self

    def pair(self) -> _tags.TagPair:
        return _tags.TagPair(self.forward, self.reverse)

    @classmethod
    def of(cls, pair: _tags.TagPair) -> Self:
        return cls(forward=pair.forward, reverse=pair.reverse)


# --- load balancer ---------------------------------------------------------------------------------------


class PairAdd(Tags):
    """A tag pair to add, with the weight of its chain (0 = cordoned)."""

    weight: Weight = WEIGHT_DEFAULT


class Change(Model):
    """Several adds and removes in one epoch. All of it happens, or nothing.

    `cancel` takes back pairs that cool down, `forget` frees pairs that are drained; `expect_epoch`, when
    given, must be the present one. While the session table overflows the chain set may not change, unless
    `force`.
    """

    model_config = _examples(
        {"add": [{"forward": 6, "reverse": 7}], "remove": [{"forward": 2, "reverse": 3}]}
    )

    add: list[PairAdd] = []
    remove: list[Tags] = []
    cancel: list[Tags] = []
    forget: list[Tags] = []
    expect_epoch: Epoch | None = None
    force: StrictBool = False


class PairView(PairAdd):
    """A tag pair as an LB holds it. `slot` and `generation` are what pins store."""

    slot: Slot
    generation: Generation
    state: PairState


class FreeSlot(Model):
    """A slot that no pair has now, with the last generation that it had."""

    slot: Slot
    generation: Generation


class ChainSet(Model):
    """The chain set of a segment at one epoch: the answer to a change, and what a master sends its slave.

    `designated` is the slot that carries what is no session; None while there is no chain. `free` are slots
    that were used: who begins anew by this must not give their generations twice.
    """

    segment: Name
    epoch: Epoch
    designated: Slot | None
    pairs: list[PairView]
    free: list[FreeSlot] = []


class ChainSetUpdate(Model):
    """Master to slave: the chain set of a new epoch. Only the master that greeted last is obeyed."""

    master_id: str
    chain_set: ChainSet


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
        _checked(self.timeouts)
        return self

    def timeouts(self) -> _session.Timeouts:
        return _session.Timeouts(**self.model_dump())


class Handshake(Model):
    """Master to slave, at start and whenever either of them restarted: all that the slave must know."""

    protocol: Annotated[int, Strict()] = PROTOCOL
    master_id: str
    ask_id: VlanId
    affinity: Affinity
    timeouts: TimeoutsModel
    chain_set: ChainSet


class HandshakeReply(Model):
    protocol: int = PROTOCOL
    slave_id: str
    epoch: Epoch
    capacity: int
    """Sessions that its table has room for."""


class PairActivity(Tags):
    """The answer to "active?" of one pair at one LB: `active` is false once nothing of it is left there."""

    state: PairState
    active: bool
    sessions: int


class PairStats(Tags):
    """Counters of one pair at one LB since its generation began; forward = client to server.

    `reset` and `moved` count sessions that an order ended.
    """

    slot: int
    state: PairState
    sessions: int
    new_sessions: int
    forward_packets: int
    forward_bytes: int
    reverse_packets: int
    reverse_bytes: int
    reset: int = 0
    moved: int = 0


class BalancerStats(Model):
    """Statistics of an LB; a master's include its slave's as `peer` (null when it can't be reached)."""

    role: Role
    segment: Name
    epoch: int
    pins: int
    capacity: int
    overflow: bool
    pairs: list[PairStats]
    counters: dict[str, int]
    peer: BalancerStats | None = None


class Rebalance(Model):
    """A re-balance request: new sessions only. With `weights`, these are the operator's from now on.

    While the session table overflows weights may not change, unless `force`. With `move_idle`, sessions
    without a packet for as many seconds, but no less than lease + 2 D, are placed anew at their next one.
    """

    model_config = _examples({}, {"weights": [{"forward": 2, "reverse": 3, "weight": 50}], "move_idle": 300})

    weights: list[PairAdd] = []
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


class SweepOrder(Model):
    """Master to slave: let go of what the master is about to end.

    Sessions of one generation of a slot, of one key, or without a packet for `idle` s; of several of these,
    what is all of it. One of them must be given: nobody ends all sessions by mistake.
    """

    master_id: str
    mode: Literal["reset", "delete"]
    slot: Slot | None = None
    generation: Generation | None = None
    idle: Idle = 0.0
    key: SessionText | None = None

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if (self.slot is None) != (self.generation is None):
            raise ValueError("slot and generation go together: a slot alone is another chain's next time")
        if self.slot is None and self.key is None and not self.idle:
            raise ValueError("this would end all sessions: give slot and generation, key, or idle")
        return self


class Swept(Model):
    reset: int
    moved: int


class PeerHealth(Model):
    """`instance` is the process that the peer is, if it is known.

    `lag`, where chains rewrite: s since the last exchange of keys began. What is younger, a loss would lose.
    """

    url: str | None
    connected: bool
    instance: str | None = None
    reason: str | None = None
    lag: float | None = None


class BalancerHealth(Model):
    """How an LB is, and what it runs with. A slave has ask ID and timeouts from its master, once they met.

    `reason` says what the daemon's last tick failed at; what its peer lacks is there.
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
    peer: PeerHealth


# --- controller ------------------------------------------------------------------------------------------


class SteerRequest(Model):
    """Carry this tag pair through these NFs, in forward order."""

    model_config = _examples({"segment": "main", "tags": {"forward": 2, "reverse": 3}, "nfs": ["n1"]})

    segment: Name
    tags: Tags
    nfs: list[Name] = Field(min_length=1)


class SteeredChain(SteerRequest):
    """A chain as steered: `path` names every switch and NF in forward order from master to slave LB."""

    name: Name
    cookie: int
    path: list[str]
    rules: int
    installed: bool
    waiting_for: list[str] = []


class RuleView(Model):
    """One OpenFlow rule with its counters; `installed` is false when the switch does not show it."""

    switch: Name
    table: int
    priority: int
    cookie: int
    match: dict[str, str | int]
    actions: list[str]
    packets: int
    bytes: int
    installed: bool


class PortRef(Model):
    switch: Name
    port: str


class LinkView(Model):
    a: PortRef
    b: PortRef


class SwitchView(Model):
    name: Name
    dpid: int
    connected: bool
    ports: list[str]
    dropped_packets: int = 0


class TopologyView(Model):
    switches: list[SwitchView]
    links: list[LinkView]
    attachments: dict[str, PortRef]


class SegmentView(Model):
    """Whether a segment's pair is in the way of the traffic.

    `ago` are the seconds since it was inserted; None if it is not, or stood there from the beginning.
    """

    name: Name
    inserted: bool
    ago: float | None = None


class NetworkView(Model):
    """The network that the controller steers through."""

    revision: str


class ControllerHealth(Model):
    status: Literal["ok", "degraded"]
    switches_connected: int
    switches_expected: int
    reason: str | None = None


# --- management system -----------------------------------------------------------------------------------


class ChainRequest(Model):
    """Ask for a chain. The name is made up and the tags are allocated unless they are given."""

    model_config = _examples(
        {"nfs": ["n2"]},
        {
            "nfs": ["firewall-2", "ids-2"],
            "name": "second",
            "tags": {"forward": 4, "reverse": 5},
            "weight": 50,
        },
    )

    nfs: list[Name] = Field(min_length=1)
    name: Name | None = None
    tags: Tags | None = None
    weight: Weight = WEIGHT_DEFAULT
    segment: Name | None = None


class ChainView(Model):
    """A chain as the management system knows it; `reason` says why it waits or failed.

    A `cordoned` chain has weight 0 until it is uncordoned. While it cools down it may have a `deadline`, and
    `then` what becomes of the sessions that are left; `reset` and `moved` count them.
    """

    name: Name
    segment: Name
    nfs: list[Name]
    tags: Tags
    weight: Weight
    cordoned: bool = False
    state: ChainState
    reason: str | None = None
    created: float
    changed: float
    deadline: float | None = None
    then: Then | None = None
    reset: int = 0
    moved: int = 0


class OperationView(Model):
    """A call that takes time (the paper's asynchronous calls): poll it until it is not `running`.

    `reset` and `moved`: sessions that removals ended when their deadline had come. An `apply` has `chains` in
    place of a `chain`, of which `done` are what they shall be. `who` asked for it, and `why`, as they said of
    themselves, in the call with the ID `request`, which is in the logs of all services.
    """

    id: str
    kind: Literal["add", "remove", "cancel", "apply"]
    chain: str
    state: Literal["running", "succeeded", "failed"]
    reason: str | None = None
    created: float
    finished: float | None = None
    reset: int = 0
    moved: int = 0
    chains: list[Name] = []
    done: int = 0
    who: str | None = None
    why: str | None = None
    request: str | None = None


class HistoryEntry(Model):
    """What happened: an entry of the journal, numbered from 1 without a gap.

    `changes` names what changed, with the value before and after (null: there was none, or is none). For a
    `kind` of `epoch` these are the segment's epoch, and its tag pairs (`2-3`) as the master has them.
    `chain_id` tells a chain from earlier ones of its name. `who`, `why`, `address` and `request` are of the
    call that asked for it, or of the one that began its `operation`.
    """

    seq: int
    at: float
    kind: HistoryKind
    who: str
    why: str | None = None
    address: str | None = None
    request: str | None = None
    segment: str | None = None
    chain: str | None = None
    chain_id: str | None = None
    operation: str | None = None
    text: str | None = None
    changes: dict[str, tuple[Any, Any]]


class SessionRequest(SessionOrder):
    """An order about one session; the segment is needed if several carry it."""

    model_config = _examples({"key": "tcp 10.0.0.1:4000 10.0.0.2:80", "mode": "move"})

    segment: Name | None = None


class SessionStatus(SessionView):
    """A session with its segment and its chain's name."""

    segment: Name
    chain: Name | None


class ServiceStatus(Model):
    name: str
    url: str
    ok: bool
    reason: str | None = None


class ChainStatus(ChainView):
    """A chain with its load: sessions at the master, bytes since it began, share of live sessions."""

    sessions: int | None = None
    new_sessions: int | None = None
    bytes: int | None = None
    share: float | None = None


class SegmentStatus(Model):
    """A segment: its pair, whether that is in the way of the traffic, and its epoch.

    `inserted` is None while the controller says nothing, `epoch` while the master does.
    `adopting` are the seconds for which no other chain may come, since it was inserted.
    """

    name: Name
    master: Name
    slave: Name
    inserted: bool | None = True
    adopting: float = 0.0
    epoch: int | None = None


class StatusView(Model):
    services: list[ServiceStatus]
    segments: list[SegmentStatus]
    chains: list[ChainStatus]
    counters: dict[str, dict[str, int]]


class ManagementHealth(Model):
    """`reason` says what is degraded: a part that can't be used, or a store that can't be written."""

    status: Literal["ok", "degraded"]
    chains: int
    reason: str | None = None


def explain(faults: Sequence[Any]) -> str:
    """One line of text for the `errors()` of a pydantic refusal: each place, its fault and its value.

    What is long is cut, and so is a list of many faults.
    """
    lines = []
    for item in faults[:FAULTS_SHOWN]:
        place = _cut(".".join(str(part) for part in item["loc"] if part != "body"))
        fault = _cut(item["msg"].removeprefix("Value error, "))
        value = item.get("input")
        hidden = isinstance(value, dict | list) or item["type"] in ("value_error", "refused")
        shown = "" if hidden else f" (got {_cut(repr(value))})"
        lines.append(f"{place}: {fault}{shown}" if place else f"{fault}{shown}")
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"and {len(faults) - FAULTS_SHOWN} more")
    return "; ".join(lines)


def _cut(text: str, size: int = 250) -> str:
    return text if len(text) <= size else f"{text[:size]}..."
