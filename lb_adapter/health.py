"""Is a chain alive? Pure: a probe's fate goes in, the chain's next state comes out.

`now` is seconds of the monotonic clock, as are all moments here. A chain of which no probe ever came back
is not called down but `unproven`: its network functions may not let probes pass, and its traffic goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from catenary.health import HealthCheck
from lb_adapter.dataplane.base import Probed

Verdict = Literal["unknown", "up", "down", "unproven"]
MEMORY = 60.0
"""s for which a fall is remembered: each of them doubles what a chain must prove to be up again."""
DOUBLINGS = 5


@dataclass(frozen=True)
class Health:
    """What is known of a chain since `since`. `row` probes in a row spoke against that.

    `falls` are the moments at which it went down; `latency` is that of the last probe, there and back, in s,
    and `answered` that of the last one that came back.
    """

    verdict: Verdict = "unknown"
    since: float = 0.0
    row: int = 0
    falls: tuple[float, ...] = ()
    latency: float | None = None
    answered: float | None = None
    sent: int = 0
    lost: int = 0


def turns_after(health: Health, check: HealthCheck, now: float) -> int:
    """Probes in a row that must speak against the verdict until it turns."""
    if health.verdict == "down":
        return needed(health, check, now)
    return 1 if health.verdict == "unproven" else check.fall


def needed(health: Health, check: HealthCheck, now: float) -> int:
    """Probes in a row that must come back until a chain that is down is up: more, if it flaps."""
    recent = sum(now - fall < MEMORY for fall in health.falls)
    return int(check.rise * 2 ** min(max(0, recent - 1), DOUBLINGS))


def came_back(health: Health, check: HealthCheck, latency: float, now: float, quiet: float) -> Health:
    """A probe came back in time. What is down stays so for `quiet` s, until what was in it is gone."""
    health = replace(health, sent=health.sent + 1, latency=latency, answered=latency)
    if health.verdict != "down":
        return replace(health, row=0) if health.verdict == "up" else _turned(health, "up", now)
    row = health.row + 1
    if row >= needed(health, check, now) and now - health.since > quiet:
        return _turned(health, "up", now)
    return replace(health, row=row)


def was_lost(health: Health, check: HealthCheck, now: float) -> Health:
    """A probe did not come back in time."""
    health = replace(health, sent=health.sent + 1, lost=health.lost + 1, latency=None)
    if health.verdict in ("down", "unproven"):
        return replace(health, row=0)
    row = health.row + 1
    if row < check.fall:
        return replace(health, row=row)
    if health.verdict == "unknown":
        return _turned(health, "unproven", now)
    recent = tuple(fall for fall in health.falls if now - fall < MEMORY)
    return replace(_turned(health, "down", now), falls=(*recent, now)[-DOUBLINGS - 1 :])


def acquitted(probing: Probing, now: float) -> Probing:
    """It fell for no fault of its own, and nothing followed from that: it was up, and is judged anew."""
    health = probing.health
    if health.verdict != "down":
        return probing
    return Probing(replace(health, verdict="up", row=0, falls=health.falls[:-1]), due=now)


def _turned(health: Health, verdict: Verdict, now: float) -> Health:
    return replace(health, verdict=verdict, since=now, row=0)


@dataclass(frozen=True)
class Probing:
    """The probes of one chain: `number` is under way since `sent_ns`.

    At `due` it is judged, or, where none is under way, the next one sent.
    """

    health: Health = Health()
    number: int | None = None
    sent_ns: int = 0
    due: float = 0.0


def sent(probing: Probing, check: HealthCheck, number: int, sent_ns: int) -> Probing:
    """A probe went out."""
    return replace(probing, number=number, sent_ns=sent_ns, due=sent_ns / 1e9 + check.timeout)


def unsent(probing: Probing, check: HealthCheck, now: float) -> Probing:
    """A probe could not be sent: that says nothing about the chain."""
    return replace(probing, number=None, due=now + check.interval)


def judged(probing: Probing, check: HealthCheck, seen: Probed | None, now: float, quiet: float) -> Probing:
    """What is under way was waited for; `seen` is the last one that came out of the chain.

    By when it came, not by when we look: a process that was held up calls no chain down for that.
    """
    took = None if seen is None or seen.number != probing.number else (seen.at_ns - probing.sent_ns) / 1e9
    if took is not None and 0 <= took <= check.timeout:
        health = came_back(probing.health, check, took, now, quiet)
        due = max(now, probing.sent_ns / 1e9 + check.interval)
    else:
        health = was_lost(probing.health, check, now)
        hurry = health.verdict != "down" and health.verdict != "unproven"
        due = now if hurry else max(now, probing.sent_ns / 1e9 + check.interval)
    return replace(probing, health=health, number=None, due=due)
