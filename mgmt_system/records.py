"""What the management system writes down: chains and operations, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Self

from catenary.chain import Chain, ChainState

OperationKind = Literal["add", "remove", "cancel", "apply"]
OperationState = Literal["running", "succeeded", "failed"]
Then = Literal["reset", "rebalance"]


class Goal(StrEnum):
    """What shall become of a chain; `FAILED` means: undo what was done of it, then be failed."""

    PRESENT = "present"
    ABSENT = "absent"
    FAILED = "failed"


_ENDS = {
    Goal.PRESENT: ChainState.ACTIVE,
    Goal.ABSENT: ChainState.REMOVED,
    Goal.FAILED: ChainState.FAILED,
}


@dataclass(frozen=True)
class Author:
    """Who made a change and why. `who` is the name of the caller's token; without one it is a claim.

    `address` is where the call came from, `request` its ID.
    """

    who: str
    why: str | None = None
    address: str | None = None
    request: str | None = None


SELF = Author("management system")
"""For what nobody asked for just then: a part that restarted, an epoch that a master made by itself."""


@dataclass(frozen=True)
class ChainRecord:
    """A chain, how far it is (`state`) and where it is going (`goal`).

    `id` tells it from earlier chains of its name: it is the ID of the operation that asked for it. `failure`
    says why it failed. `operation` is the ID of the operation that runs on it, if any. `created` and
    `changed` are seconds since the epoch; `changed` moves with `state` only. `uncordoned` is the weight that
    a cordoned chain gets back. From `deadline` on, in the same seconds, the sessions that hold up its removal
    are ended as `then` says: `grace` seconds after it was let go, which it may have to wait for. `reset` and
    `moved` count them. `p50` and `p95` are what was predicted of its
    cool-down when its removal was accepted: with that probability it takes so many seconds at most. A
    `canary` gets so many percent of new sessions.
    """

    id: str
    chain: Chain
    segment: str
    state: ChainState
    goal: Goal
    created: float
    changed: float
    failure: str | None = None
    operation: str | None = None
    uncordoned: int | None = None
    deadline: float | None = None
    grace: float | None = None
    then: Then | None = None
    reset: int = 0
    moved: int = 0
    p50: float | None = None
    p95: float | None = None
    canary: int | None = None

    @property
    def name(self) -> str:
        return self.chain.name

    @property
    def live(self) -> bool:
        """Whether it holds its name, its tags and its NFs."""
        return self.state not in (ChainState.REMOVED, ChainState.FAILED)

    @property
    def carrying(self) -> bool:
        """Whether it may have live sessions."""
        return self.state in (ChainState.ACTIVE, ChainState.COOLING)

    @property
    def serving(self) -> bool:
        """Whether it is active and shall go on being so; it takes new sessions unless its weight is 0."""
        return self.state is ChainState.ACTIVE and self.goal is Goal.PRESENT

    @property
    def staying(self) -> bool:
        """Whether it is there, or on its way, and shall be."""
        return self.live and self.goal is Goal.PRESENT

    @property
    def settled(self) -> bool:
        """Whether it is what it shall be."""
        return self.state is _ENDS[self.goal]

    @property
    def resting(self) -> bool:
        """Whether it has nothing to do unless something new is seen of it."""
        return self.settled and self.operation is None

    @property
    def draining(self) -> bool:
        """Whether it cools down, and shall."""
        return self.state is ChainState.COOLING and self.goal is Goal.ABSENT

    @property
    def let_go(self) -> bool:
        """Whether it takes no new session, and shall not."""
        return self.goal is Goal.ABSENT and self.state in (ChainState.COOLING, ChainState.DRAINED)

    def become(self, state: ChainState, now: float) -> Self:
        if state is self.state:
            return self
        after = replace(self, state=state, changed=now)
        if state is ChainState.COOLING and self.grace is not None:
            return replace(after, deadline=now + self.grace, grace=None)
        return after.kept() if state is ChainState.ACTIVE else after

    def kept(self) -> Self:
        """Without what was to become of it when it leaves."""
        return replace(self, deadline=None, grace=None, then=None, p50=None, p95=None)

    def due(self, now: float) -> bool:
        """Has the deadline of its removal come?"""
        return self.deadline is not None and now >= self.deadline


@dataclass(frozen=True)
class OperationRecord:
    """A request that takes time; `finished` is None while it is running. `author` asked for it.

    An `apply` has `chains` in place of a `chain`, and their records all bear its ID until its end.
    """

    id: str
    kind: OperationKind
    chain: str
    state: OperationState
    created: float
    author: Author = SELF
    reason: str | None = None
    finished: float | None = None
    reset: int = 0
    moved: int = 0
    chains: tuple[str, ...] = ()

    def finish(self, state: OperationState, now: float, reason: str | None = None) -> Self:
        return replace(self, state=state, finished=now, reason=reason)

    def overruled(self, now: float, reason: str) -> Self:
        """A later request wants something else of a chain: it has failed, an apply once all else is done."""
        if self.kind == "apply":
            return replace(self, reason="; ".join(filter(None, (self.reason, reason))))
        return self.finish("failed", now, reason)
