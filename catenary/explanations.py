"""What is told of where one session goes, and why: messages of all three services, as those of `wire`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from catenary.chain import ChainState
from catenary.wire import Epoch, Model, Name, RuleView, SessionEntry, SessionText, Tags

SessionStatus = Literal["live", "closing", "reset", "ended", "new", "refused", "beside", "unknown"]
"""What a session is to a segment.

`live`: it has a chain. `closing`: it was closed both ways, and its pin rests for late packets. `reset`: ended
by order. `ended`: it is over. `new`: it would go to a chain. `refused`: it would go to none. `beside`: the
segment's pair does not see it. `unknown`: no part that knows can be reached.
"""


CaptureSeconds = Annotated[
    float, Field(gt=0, le=3600, allow_inf_nan=False, description="for so many seconds at most")
]
CapturePackets = Annotated[int, Field(ge=1, le=1_000_000, description="so many packets at most")]


class Candidate(Tags):
    """A chain between which and another the policy chooses: `live` sessions, `weight` for new ones."""

    live: int
    weight: int


class SessionForecast(Model):
    """Where a session would go that began at this moment, at the master of a segment.

    `candidates` are what the policy weighs, that of the plain hash first. `overflow`: the table is full, and
    the plain hash places. Without `tags` it goes nowhere, and `reason` says why. With `client` all this holds
    if that end is the client's, and else the classifier judges otherwise.
    """

    key: SessionText
    epoch: Epoch
    policy: Literal["maglev", "p2c"]
    overflow: bool
    candidates: list[Candidate]
    tags: Tags | None
    reason: str | None = None
    client: str | None = None


class HopView(RuleView):
    """A rule on the way. `source` and `target` are what its frames come from and go to.

    Such as `l1.inner` or `n1.ingress`; or the port of the switch at the other end of a link.
    """

    source: str
    target: str


class ChainHops(Model):
    """The rules of a steered chain, in the order in which frames meet them, with the switches' counters."""

    name: Name
    segment: Name
    forward: list[HopView]
    reverse: list[HopView]


class SegmentExplanation(Model):
    """Where a session goes in one segment, and why.

    `path` is what it crosses in forward order: fixed NFs, load balancers, the chain's NFs. `because` are the
    reasons in words, most important first; `faults` what could not be asked. `master` and `slave` are what
    they know of it. `forecast` is for a session that is not known, or over. The hops are those of the chain.
    """

    segment: Name
    status: SessionStatus
    chain: Name | None = None
    chain_state: ChainState | None = None
    tags: Tags | None = None
    nfs: list[Name] = []
    path: list[Name] = []
    because: list[str] = []
    faults: list[str] = []
    master: SessionEntry | None = None
    slave: SessionEntry | None = None
    forecast: SessionForecast | None = None
    forward: list[HopView] = []
    reverse: list[HopView] = []


class Explanation(Model):
    """Where a session goes and why: in one sentence, and for each segment in the order of the services."""

    key: SessionText
    summary: str
    segments: list[SegmentExplanation]
