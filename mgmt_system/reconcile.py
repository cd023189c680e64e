"""The state machine of a chain, as pure functions: record and observation in, next step out.

    requested --steer--> steered --add pair--> active --remove pair--> cooling --poll--> drained
    drained --forget pair, unsteer--> removed        requested | steered --refused--> undo --> failed
    cooling, its deadline over --end sessions--> drained
    cooling --cancel--> active
    in a segment whose pair is not inserted:  requested --steer--> steered --> active --unsteer--> removed

It is level-triggered: a step follows from what is recorded and what was seen, never from what happened
before, so a crash between a call and its record only repeats the call. Order (affinity rule 4): switch
rules come before the pair and go after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from catenary.chain import ChainState, PairState
from catenary.errors import CatenaryError, Conflict, InvalidValue, NotFound, Unsupported
from mgmt_system.records import ChainRecord, Goal, OperationRecord, OperationState

NOT_SAID = "the controller has not said yet whether the pair is inserted"
REFUSALS = (InvalidValue, Conflict, NotFound, Unsupported)
"""Errors that the same call meets again whenever it is repeated; any other error may heal."""


class Action(StrEnum):
    """A call to another part. Each may be repeated without harm."""

    STEER = "steer"
    ADD_PAIR = "add pair"
    REMOVE_PAIR = "remove pair"
    CANCEL = "cancel cool-down"
    POLL = "poll cool-down"
    END = "end sessions"
    FORGET_PAIR = "forget pair"
    UNSTEER = "unsteer"
    WEIGH = "set weight"
    CLASSIFY = "classify"


class Sight(StrEnum):
    """What was seen of a pair at the master, when that is no `PairState`."""

    UNKNOWN = "unknown"
    ABSENT = "absent"


@dataclass(frozen=True)
class Seen:
    """What the other parts last said of a chain; the default is that nothing is known.

    `waiting_for` are the switches that the controller still waits for. `plain`: the pair of its segment is
    not in the way of the traffic, which the chain carries as soon as it is steered; None: nobody knows.
    `weight` is the one that the master has for the pair. `classified`, of a bypass: does the master let pass
    by what it should?
    """

    steered: bool | None = None
    pair: PairState | Sight = Sight.UNKNOWN
    waiting_for: tuple[str, ...] = ()
    plain: bool | None = None
    weight: int | None = None
    classified: bool | None = None


@dataclass(frozen=True)
class Do:
    """Make this call."""

    action: Action


@dataclass(frozen=True)
class Become:
    """Write this state down; no call is needed."""

    state: ChainState


@dataclass(frozen=True)
class Wait:
    """Nothing can be done now. `reason` is None when nothing needs to be done."""

    reason: str | None = None


Step = Do | Become | Wait


def decide(record: ChainRecord, seen: Seen, now: float) -> Step:
    """The next step for a chain."""
    if record.settled and record.goal is not Goal.PRESENT:
        return Wait()
    return _arrive(record, seen) if record.goal is Goal.PRESENT else _leave(record, seen, now)


def _arrive(record: ChainRecord, seen: Seen) -> Step:
    match record.state:
        case ChainState.REQUESTED:
            return Do(Action.STEER)
        case ChainState.STEERED if not seen.steered:
            # A controller that restarted meanwhile has no rules: sessions would go into a black hole.
            return Do(Action.STEER)
        case ChainState.STEERED if seen.plain is None:
            return Wait(NOT_SAID)
        case ChainState.STEERED:
            return Become(ChainState.ACTIVE) if seen.plain else Do(Action.ADD_PAIR)
        case ChainState.COOLING:
            return _come_back(seen)
        case _ if record.operation and seen.weight not in (None, record.chain.weight):
            return Do(Action.WEIGH)
        case _:
            return _keep(seen)


def serve(seen: Seen) -> Step:
    """For a chain that shall leave and may not yet: it gets back what it needs to serve until then."""
    step = _keep(seen)
    return step if step in (Do(Action.STEER), Do(Action.ADD_PAIR)) else Wait()


def _come_back(seen: Seen) -> Step:
    """A chain whose removal was cancelled while it cooled down."""
    if seen.steered is False:
        return Do(Action.STEER)
    if seen.plain is None:
        return Wait(NOT_SAID)
    if seen.plain and seen.steered:
        return Become(ChainState.ACTIVE)
    if seen.pair is Sight.UNKNOWN:
        return Wait("the master load balancer has not said yet which tag pairs it has")
    if seen.pair is PairState.ACTIVE:
        return Become(ChainState.ACTIVE)
    return Do(Action.ADD_PAIR if seen.pair is Sight.ABSENT else Action.CANCEL)


def _keep(seen: Seen) -> Step:
    """An active chain: give back what a part that restarted empty has lost."""
    if seen.steered is False:
        return Do(Action.STEER)
    if seen.pair is Sight.ABSENT and not seen.plain:
        return Do(Action.ADD_PAIR) if seen.plain is False else Wait(NOT_SAID)
    if seen.pair not in (PairState.ACTIVE, Sight.UNKNOWN, Sight.ABSENT):
        return Wait(f"the master load balancer says {seen.pair}: remove the chain and add it again")
    if seen.pair is PairState.ACTIVE and seen.classified is False:
        return Do(Action.CLASSIFY)
    if seen.waiting_for:
        return Wait(f"the controller waits for switch {', '.join(seen.waiting_for)}")
    return Wait()


def _leave(record: ChainRecord, seen: Seen, now: float) -> Step:
    if record.state in (ChainState.REQUESTED, ChainState.FAILED):
        return Do(Action.UNSTEER)
    if seen.plain and not isinstance(seen.pair, PairState):
        # No load balancer knows of it: there is nothing to wait for.
        return Do(Action.UNSTEER)
    if record.state is ChainState.COOLING:
        return _cool(seen, due=record.due(now))
    if seen.pair is Sight.UNKNOWN:
        return Wait("the master load balancer has not said yet which tag pairs it has")
    if record.state is ChainState.ACTIVE:
        return Do(Action.REMOVE_PAIR) if seen.pair is PairState.ACTIVE else Become(ChainState.COOLING)
    if seen.pair is Sight.ABSENT:
        return Do(Action.UNSTEER)
    if record.state is ChainState.DRAINED and seen.pair is PairState.DRAINED:
        return Do(Action.FORGET_PAIR)
    # Steered, but the pair was added just before a crash or a removal; or drained no more.
    return Become(ChainState.COOLING)


def _cool(seen: Seen, *, due: bool) -> Step:
    # The chain's live sessions need its rules until the end.
    if seen.steered is False:
        return Do(Action.STEER)
    if seen.pair is PairState.ACTIVE:
        return Do(Action.REMOVE_PAIR)
    return Do(Action.END if due else Action.POLL)


def outlook(record: ChainRecord, now: float) -> str:
    """What becomes of the sessions that hold up a removal, to be put behind what holds it up."""
    if record.deadline is None:
        return ""
    if not record.due(now):
        return f"; {'reset' if record.then == 'reset' else 'moved'} in {record.deadline - now:.0f} s"
    return f"; {record.reset} reset, {record.moved} moved"


def succeeded(record: ChainRecord, action: Action, now: float) -> ChainRecord:
    """The record after a call that did what it should; for `POLL` and `END`: after a verdict of drained."""
    match action:
        case Action.STEER if record.state is ChainState.REQUESTED:
            return record.become(ChainState.STEERED, now)
        case Action.ADD_PAIR if record.state in (ChainState.STEERED, ChainState.COOLING):
            return record.become(ChainState.ACTIVE, now)
        case Action.CANCEL:
            return record.become(ChainState.ACTIVE, now)
        case Action.REMOVE_PAIR:
            return record.become(ChainState.COOLING, now)
        case Action.POLL | Action.END:
            return record.become(ChainState.DRAINED, now)
        case Action.UNSTEER:
            end = ChainState.FAILED if record.goal is Goal.FAILED else ChainState.REMOVED
            return record.become(end, now)
        case _:
            return record


def refused(record: ChainRecord, action: Action, error: CatenaryError) -> ChainRecord:
    """The record after a call that failed: a new chain is given up if the error can't heal.

    A chain that carries sessions is never given up: it stays, and its reason is shown. One that can't be
    taken back goes on leaving.
    """
    if action is Action.CANCEL and isinstance(error, REFUSALS):
        return replace(record, goal=Goal.ABSENT, failure=error.detail)
    new = record.goal is Goal.PRESENT and record.state in (ChainState.REQUESTED, ChainState.STEERED)
    if new and isinstance(error, REFUSALS):
        return replace(record, goal=Goal.FAILED, failure=error.detail)
    return record


def conclude(
    record: ChainRecord, operation: OperationRecord, now: float, refusal: str | None = None
) -> tuple[ChainRecord, OperationRecord | None]:
    """Ends the operation of a chain that has become what it shall be; None while it goes on as it is.

    An apply ends when all its chains are done (`together`).
    It counts the sessions that were reset and moved.
    `refusal` says why the last call was refused: a cancel that came too late ends with it.
    """
    if operation.kind == "apply":
        return record, None
    if operation.kind == "cancel" and record.goal is Goal.ABSENT:
        return replace(record, operation=None), operation.finish("failed", now, refusal)
    counted = replace(operation, reset=record.reset, moved=record.moved)
    if not record.settled:
        return record, counted if counted != operation else None
    state: OperationState = "failed" if record.state is ChainState.FAILED else "succeeded"
    return replace(record, operation=None), counted.finish(state, now, record.failure)
