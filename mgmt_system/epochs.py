"""What changes from one epoch of a chain set to the next, for the journal. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from catenary import wire
from mgmt_system.journal import Changes


class Epochs:
    """The chain sets that masters told last, by segment; `known` are their epochs. All begin with epoch 0."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self.known = dict(known)
        self._pairs: dict[str, dict[str, object]] = {}
        self._doubted: set[str] = set()

    def learn(self, chain_set: wire.ChainSet) -> Changes | None:
        """What has changed since the epoch that was told last; None if it is the same."""
        segment, epoch = chain_set.segment, chain_set.epoch
        known, before = self.known.get(segment, 0), self._pairs.get(segment)
        if epoch < known and segment not in self._doubted:
            # An answer that another has overtaken. If the next is no higher, the master has begun anew.
            self._doubted.add(segment)
            return None
        self._doubted.discard(segment)
        if epoch == known and before is not None:
            return None
        after = self._pairs[segment] = _pairs(chain_set)
        self.known[segment] = epoch
        if epoch == known:
            return None  # of the process before this one
        before = before or {}
        pairs = [pair for pair in sorted(before | after) if before.get(pair) != after.get(pair)]
        return {"epoch": (known, epoch)} | {pair: (before.get(pair), after.get(pair)) for pair in pairs}


_UNTOLD = {"forward", "reverse", "health"}
"""Fields of a pair that are in its name; and its health, whose turns are events of their own."""


def _pairs(chain_set: wire.ChainSet) -> dict[str, object]:
    """A chain set's pairs by their tags."""
    return {
        f"{pair.forward}-{pair.reverse}": pair.model_dump(mode="json", exclude=_UNTOLD)
        for pair in chain_set.pairs
    }
