"""How long a pair that was inserted adopts the sessions that it found, as pure functions.

With one chain, every key that the master does not know goes to the chain that carried it all along. So a
session is pinned there by its first packet after the insertion, and it lives only if that comes within the
timeout of its state. Until the longest of them is over, a session that rests may have no pin yet: a second
chain could get it.
"""

from __future__ import annotations

from collections.abc import Sequence

from catenary import wire
from catenary.chain import ChainState
from catenary.config import SegmentConfig
from mgmt_system.reconcile import NOT_SAID, Action
from mgmt_system.records import ChainRecord


def adoption(timeouts: wire.TimeoutsModel) -> float:
    """Seconds: the longest that a session may rest, and D for packets that went past the pair just before."""
    return timeouts.timeouts().longest + timeouts.transit


def left(segment: SegmentConfig, view: wire.SegmentView) -> float:
    """Seconds for which no other chain may come; 0 where the pair stood from the beginning."""
    return 0.0 if view.ago is None else max(0.0, adoption(segment.timeouts) - view.ago)


def waits(segment: SegmentConfig, view: wire.SegmentView | None) -> str | None:
    """Why a chain beside the one that a pair was inserted around has to wait; None: it need not."""
    if view is None:
        return NOT_SAID
    seconds = left(segment, view)
    if not seconds:
        return None
    return (
        f"segment {view.name!r} adopts the sessions that its pair was inserted into for another "
        f"{seconds:.1f} s: one that rests would go to either chain"
    )


def forgotten(view: wire.SegmentView | None, carrying: Sequence[str]) -> str | None:
    """Why a chain can't be steered again: in a plain segment it would get the other chains' sessions too."""
    if len(carrying) < 2 or (view is not None and view.inserted):
        return None
    if view is None:
        return NOT_SAID
    return (
        f"the controller has forgotten that the pair of segment {view.name!r} is inserted, and one chain "
        f"would get the sessions of {', '.join(carrying)}: give the controller its state file back, or apply "
        "a configuration in which it has inserted: true"
    )


def obstacle(
    record: ChainRecord,
    action: Action,
    segment: SegmentConfig,
    view: wire.SegmentView | None,
    fellows: Sequence[ChainRecord],
) -> str | None:
    """Why a step has to wait for the insertion of its segment's pair; None: it need not.

    `fellows` are all chains of the segment, oldest first.
    """
    if action not in (Action.STEER, Action.ADD_PAIR):
        return None
    carrying = [other for other in fellows if other.carrying]
    match action:
        case Action.STEER if record in carrying:
            return forgotten(view, [other.name for other in carrying])
        case Action.ADD_PAIR if record.state is ChainState.STEERED or record not in carrying[:1]:
            return waits(segment, view)
    return None
