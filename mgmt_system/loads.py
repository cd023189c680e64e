"""What an autoscaler reads: the chains on record, and what their master counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from catenary import wire
from catenary.chain import ChainState, Condition
from mgmt_system.autoscaler import ChainLoad, Reading
from mgmt_system.records import ChainRecord, Goal
from mgmt_system.traffic import Heard, rates


def scaled(record: ChainRecord) -> bool:
    """Is it one of the chains that a segment scales by?"""
    return record.live and not record.chain.bypass and record.canary is None


def reading(records: Sequence[ChainRecord], before: Heard | None, now: Heard, starting: int) -> Reading:
    """A segment's chains as its master told them `now`, and `before`, for rates; `starting` copies come."""
    pairs, earlier = now.pairs, before.pairs if before else {}
    serving, others = [], 0
    ours = [record for record in records if scaled(record)]
    for record in ours:
        if not record.serving:
            continue
        pair = pairs.get(record.chain.tags)
        if pair is None:
            return Reading(
                now.at, missing=f"the master load balancer does not know chain {record.name!r} yet"
            )
        if record.chain.weight and pair.condition is Condition.UP:
            seconds = now.at - before.at if before else 0.0
            serving.append(ChainLoad(record.name, _carries(earlier.get(record.chain.tags), pair, seconds)))
        else:
            others += 1
    coming = [it for it in ours if it.goal is Goal.PRESENT and it.state is not ChainState.ACTIVE]
    return Reading(now.at, tuple(serving), len(coming) + starting, others)


def _carries(before: wire.PairStats | None, now: wire.PairStats, seconds: float) -> dict[str, float | None]:
    """Rates need two looks at a chain."""
    rate = rates(before, now, seconds) if before else {}
    latency = now.health.latency_ms if now.health else None
    carried = rate["forward"] + rate["reverse"] if rate else None
    return {
        "sessions": now.sessions,
        "new_sessions": rate.get("new"),
        "throughput": None if carried is None else carried * 8 / 1e6,
        "latency": None if latency is None else latency / 1000,
    }
