"""Is a load balancer gone, so that its standby should take its place? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from catenary import wire


@dataclass(frozen=True)
class Heard:
    """What came from a load balancer: its last `health`, and when, s of a monotonic clock.

    `asked` is when the last question was put that was answered, or, if none was yet, when the first was.
    """

    asked: float
    health: wire.BalancerHealth | None = None
    refused: str | None = None
    """Why the last question was not answered."""


def lost(active: Heard, standby: Heard, after: float, now: float) -> str | None:
    """Why the active one is taken for gone; None: it is not, or the standby can't say.

    Both must miss it for `after` s. If only one of them does, the way between the two is broken, and the data
    plane may well be whole. What a standby said goes on ageing until it says something else.
    """
    here = standby.health.standby if standby.health is not None else None
    if here is None or here.state != "following":
        return None
    silent, unheard = here.silent + now - standby.asked, now - active.asked
    if standby.refused is not None or min(here.silent, unheard) < after:
        return None
    return f"its standby has not heard of it for {silent:.2f} s, the management system for {unheard:.2f} s"
