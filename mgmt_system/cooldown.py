"""May a cooling chain be called drained? Pure: two answers to "active?" in, a verdict out.

Paper, section II-C: the MS polls master and slave, and a path's resources may be used again only when both
have answered that it is not active. The master proves it (affinity rule 6); the slave only confirms.
"""

from __future__ import annotations

from dataclasses import dataclass

from catenary.chain import PairState


@dataclass(frozen=True)
class Activity:
    """What one load balancer said of a pair; `state` is None when it does not know the pair at all."""

    balancer: str
    state: PairState | None
    active: bool
    sessions: int


@dataclass(frozen=True)
class Verdict:
    """`reason` says what holds the chain up; it is empty when the chain is drained."""

    drained: bool
    reason: str = ""


def judge(master: Activity, slave: Activity) -> Verdict:
    """Drained when nothing of the pair is left at either load balancer.

    A load balancer that does not know the pair holds nothing of it: a master that restarted empty, or one
    that forgot the pair just before this MS crashed. A pair that its master calls active is not cooling.
    """
    held = [_holds(activity) for activity in (master, slave) if activity.active]
    if held:
        return Verdict(False, ", ".join(held))
    if master.state not in (None, PairState.DRAINED):
        return Verdict(False, f"{master.balancer} says {master.state}")
    return Verdict(True)


def _holds(activity: Activity) -> str:
    if activity.sessions:
        plural = "" if activity.sessions == 1 else "s"
        return f"{activity.sessions} session{plural} at {activity.balancer}"
    return f"{activity.balancer} says {activity.state}"
