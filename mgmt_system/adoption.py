"""How long a pair that was inserted adopts the sessions that it found, as pure functions.

With one chain, every key that the master does not know goes to the chain that carried it all along. So a
session is pinned there by its first packet after the insertion, and it lives only if that comes within the
timeout of its state. Until the longest of them is over, a session that rests may have no pin yet: a second
chain could get it.
"""

from __future__ import annotations

from catenary import wire


def adoption(timeouts: wire.TimeoutsModel) -> float:
    """Seconds: the longest that a session may rest, and D for packets that went past the pair just before."""
    return timeouts.timeouts().longest + timeouts.transit


def left(segment: wire.SegmentConfig, view: wire.SegmentView) -> float:
    """Seconds for which no other chain may come; 0 where the pair stood from the beginning."""
    return 0.0 if view.ago is None else max(0.0, adoption(segment.timeouts) - view.ago)
