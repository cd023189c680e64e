"""What the management system says of a configuration: what is in force, what a new one would change and cost.

Models of its REST, apart from `wire` because they hold the models of `config`.
"""

from __future__ import annotations

from typing import Any, Literal

from catenary.config import ServiceConfig, TrafficConfig
from catenary.wire import ChainStatus, Model, Name, SegmentStatus

Kind = Literal["url", "switch", "host", "nf", "balancer", "segment", "service", "autoscale", "chain"]
Verb = Literal["add", "remove", "change", "take back"]


class ConfigView(Model):
    """The configuration in force; `revision` is its ETag, without the quotes."""

    revision: str
    config: ServiceConfig


class PlanChange(Model):
    """One thing that changes; `before` and `after` hold the keys that differ."""

    kind: Kind
    name: str
    verb: Verb
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


class PlanFault(Model):
    """What can't be applied: the key in the document, and why, with what to do instead."""

    key: list[str | int]
    text: str


class ShareShift(Model):
    """A chain's share of new sessions, 0..1."""

    chain: Name
    before: float
    after: float


class CoolDown(Model):
    """How long a removed chain cools down, in seconds from the removal.

    `earliest`: if no session of it says another word. `p50` and `p95`: with that probability it is over by
    then; None as long as too little is known. `cut`: sessions that the deadline would end, None without one.
    """

    chain: Name
    sessions: int | None
    earliest: float | None = None
    p50: float | None = None
    p95: float | None = None
    cut: float | None = None


class SegmentPlan(Model):
    """What a plan means for a segment. Sessions `stay` on chains that stay, and `leave` with those that go.

    All of them stay pinned to the chain that they are on until they end; None while its master is silent.
    """

    segment: Name
    stay: int | None
    leave: int | None
    shares: list[ShareShift]
    cooling: list[CoolDown]


class PlanView(Model):
    """What applying a document would do now. It can be applied if nothing is `refused`.

    `token` stands for this document on this `revision`, and is stale once anything else was changed.
    """

    revision: str
    token: str
    changes: list[PlanChange]
    refused: list[PlanFault]
    segments: list[SegmentPlan]


class ServiceView(Model):
    """A service: its segments in a row, their chains with their load, and the traffic that enters them.

    `sessions` are those that entered, as its first master knows them. Without a `classifier` all traffic
    enters; how much agreed with each entry, each segment tells. The chain without NFs carries the rest.
    """

    name: Name
    segments: list[SegmentStatus]
    chains: list[ChainStatus]
    sessions: int | None
    classifier: list[TrafficConfig] = []
