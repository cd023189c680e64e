"""What is told of where one session goes, and why: messages of all three services, as those of `wire`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from catenary.wire import Epoch, Model, Name, RuleView, SessionText, Tags

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
    the plain hash places. Without `tags` it goes nowhere, and `reason` says why.
    """

    key: SessionText
    epoch: Epoch
    policy: Literal["maglev", "p2c"]
    overflow: bool
    candidates: list[Candidate]
    tags: Tags | None
    reason: str | None = None


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
