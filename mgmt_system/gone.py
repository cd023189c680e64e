"""Is the machine of a load balancer gone, and is a pair fit for traffic again? Pure; `now` is in seconds.

A daemon that is dead stops no packet, so its silence alone says nothing: its machine is gone when its switch
has no link to it any more either, at both ports. Through such a load balancer nothing can pass, whatever else
is true of it. Where only a link is lost while the daemon answers, it is the cable; that is left to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

SILENT_S, SILENT_LOOKS = 0.4, 2
"""For so long and so often in a row a load balancer must be without links and an answer."""
STEADY_S = 1.0
"""For so long a pair must be well until traffic is led through it again."""
MEMORY_S, DOUBLINGS = 300.0, 5
"""Each further loss in these seconds doubles that time, so often at most: what flaps is not followed."""

Verdict = Literal["around", "through"]


@dataclass(frozen=True)
class Look:
    """What one look told of a load balancer. `linked`: is either port up? None: its switch does not say.

    `answers`: does its daemon? None: it was not asked. `well`: it follows its peer, and that one follows it.
    """

    linked: bool | None = None
    answers: bool | None = None
    well: bool = False


@dataclass(frozen=True)
class Silence:
    """So many looks in a row at which neither a link nor an answer was there; the first was at `since`."""

    since: float
    looks: int = 1


@dataclass(frozen=True)
class Pair:
    """What is known of a segment's load balancers. `gone` are those whose machine is.

    `losses` are the moments at which one went; since `well_since` both are well.
    """

    silences: Mapping[str, Silence] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    losses: tuple[float, ...] = ()
    well_since: float | None = None


def observed(pair: Pair, looks: Mapping[str, Look], now: float) -> Pair:
    """After a look at both."""
    silences = {
        name: _longer(pair.silences.get(name), now)
        for name, look in looks.items()
        if look.linked is False and look.answers is False
    }
    gone = {name for name, silence in silences.items() if _is_long(silence, now)}
    # What nobody says anything about stays gone: the switch may have been lost in the meantime.
    gone |= {name for name in pair.gone if looks[name].linked is None or looks[name].answers is not True}
    losses = tuple(loss for loss in pair.losses if now - loss < MEMORY_S)
    if gone - pair.gone:
        losses = (*losses, now)[-DOUBLINGS - 1 :]
    well = all(look.linked and look.well for look in looks.values())
    since = pair.well_since if pair.well_since is not None else now
    return replace(
        pair, silences=silences, gone=frozenset(gone), losses=losses, well_since=since if well else None
    )


def _longer(silence: Silence | None, now: float) -> Silence:
    return Silence(now) if silence is None else replace(silence, looks=silence.looks + 1)


def _is_long(silence: Silence, now: float) -> bool:
    return silence.looks >= SILENT_LOOKS and now - silence.since >= SILENT_S


def verdict(pair: Pair, now: float, *, around: bool, fails_open: bool) -> Verdict | None:
    """Where traffic is to be led, if elsewhere than it is."""
    if not fails_open:
        return "through" if around else None
    if not around:
        return "around" if pair.gone else None
    steady = STEADY_S * 2 ** min(max(0, len(pair.losses) - 1), DOUBLINGS)
    back = pair.well_since is not None and now - pair.well_since >= steady
    return "through" if back else None
