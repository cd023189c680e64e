"""The oracle of `choose` in `place.h`: the chain of a new session, and what spoke for it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from catenary.session import SessionKey
from lb_adapter.core.oracle import lanes
from lb_adapter.core.setup import Slot


@dataclass(frozen=True)
class Chosen:
    """`slot` takes the session; None: no chain does.

    `weighed` are the slots between which the policy chose, that of the plain hash first, with their live
    sessions; one if there was nothing to weigh.
    """

    slot: int | None
    weighed: tuple[tuple[int, int], ...]


def choose(
    key: SessionKey,
    entries: Sequence[int | None],
    slots: Mapping[int, Slot],
    live: Callable[[int], int],
    policy: str,
) -> Chosen:
    """By the table `entries`, and for p2c by the live sessions of each slot over its weight.

    In overflow the policy is `maglev`, whatever the operator chose (affinity rule 7).
    """
    both = [entries[lane] for lane in lanes(key, len(entries))]
    lots = both[:1] if policy == "maglev" else dict.fromkeys(both)
    found = [slot for slot in lots if slot is not None and slot in slots]
    weighed = tuple((slot, live(slot)) for slot in found)
    if len(weighed) < 2:
        return Chosen(found[0] if found else None, weighed)
    (first, load), (second, other) = weighed
    lighter = load * slots[second].placed <= other * slots[first].placed
    return Chosen(first if lighter else second, weighed)
