"""Is a load balancer gone, so that its standby should take its place? And could that one? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from catenary import wire
from catenary.config import BalancerAttachment
from catenary.errors import CatenaryError


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


@dataclass(frozen=True)
class Watched:
    """A load balancer with a standby, where they are now. `peer` is what its master tells of the pair."""

    name: str
    segment: str
    role: wire.Role
    at: BalancerAttachment
    peer: wire.PeerHealth | None = None

    def told(self, look: wire.BalancerHealth | CatenaryError) -> wire.StandbyStatus:
        """How its standby is."""
        assert self.at.standby is not None, "only such are watched"
        url = self.at.standby.url
        found = wire.StandbyStatus(balancer=self.name, segment=self.segment, role=self.role, url=url)
        if isinstance(look, CatenaryError):
            return found.model_copy(update={"reason": look.detail})
        here = look.standby
        if here is None or (here.state != "following" and not look.peer.connected):
            text = f"it does not stand by: start it with --standby-of {self.at.url}"
            return found.model_copy(update={"reason": look.peer.reason or text})
        reason = here.reason or look.reason or self._unknown(url)
        in_step = here.state == "following" and here.lag is not None and here.reason is None
        told = {"of": here.of, "state": here.state, "in_step": in_step, "lag": here.lag}
        return found.model_copy(update={**told, "silent": here.silent, "reason": reason})

    def _unknown(self, url: str) -> str | None:
        """A slave's standby would wait in vain for a master that does not look for it."""
        if self.role == "master" or self.peer is None:
            return None
        known = {given.rstrip("/") for given in (self.peer.url, self.peer.standby) if given}
        if url.rstrip("/") in known:
            return None
        return f"its master does not know it: start that one with --peer-standby {url}"
