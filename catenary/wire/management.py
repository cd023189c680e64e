"""What the management system is told and tells: chains, operations, history, sessions, status."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from catenary.chain import WEIGHT_DEFAULT, ChainState
from catenary.roles import Role
from catenary.wire.balancer import SessionOrder, SessionView, Then
from catenary.wire.common import Model, Name, Share, Tags, Weight, examples
from catenary.wire.health import PairHealth

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
    "around",
    "promote",
    "scale",
    "provision",
    "session",
    "restore",
    "state",
    "failure",
    "epoch",
    "health",
    "fault",
    "take-over",
]
"""What happened: a request, or what the management system did or saw (`state` and the last four), and its
autoscaler (`scale`, `provision`)."""


class ChainRequest(Model):
    """Ask for a chain. The name is made up and the tags are allocated unless they are given.

    A `canary` gets so many percent of new sessions, whatever chains there are beside it: its weight follows.
    """

    model_config = examples(
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
    canary: Share | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.canary and self.weight != WEIGHT_DEFAULT:
            raise ValueError(
                f"the weight of a canary follows from its share of {self.canary} %: leave it out"
            )
        return self


class ChainView(Model):
    """A chain as the management system knows it; `reason` says why it waits or failed.

    `revision` is its ETag, without the quotes; a chain of a past moment has none.

    A `cordoned` chain has weight 0 until it is uncordoned. While it cools down it may have a `deadline`, and
    `then` what becomes of the sessions that are left; `reset` and `moved` count them. `p50` and `p95` are
    what was predicted when its removal was accepted: with that probability it cools down for so many seconds
    at most. The cool-down begins at `changed`. A `canary` gets so many percent of new sessions.
    """

    name: Name
    segment: Name
    nfs: list[Name]
    tags: Tags
    weight: Weight
    cordoned: bool = False
    canary: int | None = None
    state: ChainState
    reason: str | None = None
    revision: str | None = None
    created: float
    changed: float
    deadline: float | None = None
    then: Then | None = None
    reset: int = 0
    moved: int = 0
    p50: float | None = None
    p95: float | None = None


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

    model_config = examples({"key": "tcp 10.0.0.1:4000 10.0.0.2:80", "mode": "move"})

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
    """A chain with its load: sessions at the master, bytes since it began, share of live sessions.

    One without NFs carries what passes by the others: it has no share of what enters. `health` is what
    probes say of it, if its segment has a health check.
    """

    sessions: int | None = None
    new_sessions: int | None = None
    bytes: int | None = None
    share: float | None = None
    health: PairHealth | None = None


class SegmentStatus(Model):
    """A segment: its pair, whether that is in the way of the traffic, and its epoch.

    `inserted` is None while the controller says nothing, `epoch` and `entered` while the master does.
    `entered` counts new sessions by the entry of the classifier; it is empty while all traffic enters.
    `around`: traffic is led past both load balancers. `gone` are those of them whose machine is.
    `adopting` are the seconds for which no other chain may come, since it was inserted.
    """

    name: Name
    master: Name
    slave: Name
    inserted: bool | None = True
    around: bool = False
    gone: list[Name] = []
    adopting: float = 0.0
    epoch: int | None = None
    entered: list[int] | None = None


class StandbyStatus(Model):
    """Who would take the place of `balancer`, and whether it could: s of its own clock.

    `of` is whom it follows. `in_step`: it has all sessions that were there `lag` s ago; the last message came
    `silent` s ago. `reason` says why it is not in step, or what is wrong with it. Without a `state` it did
    not answer, or does not stand by.
    """

    balancer: str
    segment: str
    role: Literal["master", "slave"]
    url: str
    of: str | None = None
    state: Literal["following", "taking_over", "active"] | None = None
    in_step: bool = False
    lag: float | None = None
    silent: float | None = None
    reason: str | None = None


class StatusView(Model):
    services: list[ServiceStatus]
    standbys: list[StandbyStatus] = []
    segments: list[SegmentStatus]
    chains: list[ChainStatus]
    counters: dict[str, dict[str, int]]


class CallerView(Model):
    """Who calls, and what that may do."""

    name: str
    role: Role


class ManagementHealth(Model):
    """`reason` says what is degraded: a part that can't be used, or a store that can't be written.

    `leads`: changes are made here. Where several share a store, `leader` is the URL of who leads.
    """

    status: Literal["ok", "degraded"]
    chains: int
    reason: str | None = None
    leads: bool = True
    leader: str | None = None
