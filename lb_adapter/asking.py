"""Does a slave get answers to its asks? Pure: it is told at every tick what was counted since the last.

With the bypass path down an ask dies at a switch, and no counter there is ours (affinity rule 3). Some asks
get no answer by right, such as those about strays of no session: only a row of them, over more time than an
answer takes, is a sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

LEAST = 5
"""Asks that a row has before answers are missed."""
QUIET = 10.0
"""s without an ask, which end a row of which no answer was missed."""
_ASKS = ("ask_sent", "hint_sent")
_ANSWERS = ("answer_taken", "answer_late", "closed_not_learned", "pin_table_full")
"""What becomes of an answer. The last two count other packets, too: rather no alarm than a false one."""


@dataclass(frozen=True)
class Asking:
    """A row of asks without an answer: how many, and when (s) ticks saw the first and the last of them."""

    asks: int = 0
    first: float = 0.0
    last: float = 0.0
    missed: bool = False
    """Is an answer overdue? So it stays until one comes."""

    @property
    def reason(self) -> str | None:
        """What is wrong, in words."""
        if not self.missed:
            return None
        return (
            f"{self.asks} asks to the master got no answer, and packets of servers without a lease are lost: "
            "see that the bypass path is up, and what the master drops"
        )


def observe(
    asking: Asking, before: Mapping[str, int], counters: Mapping[str, int], now: float, transit: float
) -> Asking:
    """The next state. An ask takes up to `transit` s to the master, and so does its answer back."""
    asks = sum(max(0, counters[name] - before[name]) for name in _ASKS)
    if any(counters[name] > before[name] for name in _ANSWERS):
        return Asking()
    if asks:
        first = asking.first if asking.asks else now
        asking = Asking(asking.asks + asks, first, now, asking.missed)
    elif not asking.missed and now - asking.last > QUIET:
        return Asking()
    overdue = asking.asks >= LEAST and now - asking.first > 2 * transit
    return replace(asking, missed=asking.missed or overdue)
