"""Is a load balancer what the network file says of it, and does it run with what that says? Pure.

A load balancer gets its settings from its own command line, and everybody else goes by the file: the wait
for the sessions of an inserted pair would end too early if the master let them rest for longer.
"""

from __future__ import annotations

from math import isclose

from catenary import wire
from catenary.config import SegmentConfig


def stranger(name: str, role: wire.Role, segment: str, health: wire.BalancerHealth) -> str | None:
    """Why a load balancer is not the one that the network file means; None if it is."""
    if (health.role, health.segment) == (role, segment):
        return None
    return (
        f"load balancer {name} is the {health.role} of segment {health.segment!r}, and should be the {role} "
        f"of {segment!r}: see its url in the network file, and --role and --segment that it runs with"
    )


def differs(segment: SegmentConfig, health: wire.BalancerHealth) -> str | None:
    """What a segment's master does otherwise, with both values and the fix; None if all is alike."""
    told = segment.timeouts.model_dump()
    runs = health.timeouts.model_dump()
    found = [
        f"{name} {runs[name]:g} s, not {value:g} s (--{name.replace('_', '-')})"
        for name, value in told.items()
        if not isclose(runs[name], value, rel_tol=1e-5)  # options are written with six digits
    ]
    if health.ask_id != segment.ask_id:
        found.append(f"ask_id {health.ask_id}, not {segment.ask_id} (--ask-id)")
    if health.rewrites != segment.rewrites:
        found.append(f"rewrites {health.rewrites}, not {segment.rewrites} (--rewrites)".lower())
    if not found:
        return None
    return (
        f"it does not run with what the network file says: {', '.join(found)}; start it with these options, "
        "or apply a configuration that says so while the segment has no chain"
    )
