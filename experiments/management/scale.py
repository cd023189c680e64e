"""A thousand chains in twenty segments: lists, plans, mixed load, a restart, and the memory of it all."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from catenary.config import ServiceConfig
from experiments.bench.plan import figure
from experiments.management import load
from experiments.management.cooldowns import predicted
from experiments.management.documents import many, turned
from experiments.management.load import Answer
from experiments.management.plan import Plan
from experiments.management.site import MANAGEMENT_URL, STAND_INS_PORT, Site, site
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.services import wait_until

_SEED = 5
_SPARE = 12
"""NFs without a chain, in each segment: the load never uses one twice."""
HISTORY_MB = 16
"""The most that the history of traffic takes. It fills in ten minutes, so it is added to what was seen."""
CLAIMS = (
    Claim("list_ms", at_most=100),
    Claim("plan_ms", at_most=1000),
    Claim("reconcile_s", at_most=10),
    Claim("memory_mb", at_most=300),
    Claim("p99_ms", at_most=250),
    Claim("errors", at_least=0, at_most=0),
)


def measure(plan: Plan, say: Say) -> Part:
    """`list_ms plan_ms p99_ms errors reconcile_s memory_mb`, and what it took to apply them all at first."""
    config = many(plan.chains, plan.segments, spare=_SPARE, port=STAND_INS_PORT)
    with site(config) as made:
        begun = time.monotonic()
        operation = made.apply(config)
        first = time.monotonic() - begun
        say(f"{plan.chains} chains in {plan.segments} segments applied in {first:.1f} s")
        config = made.management.config()  # with the tags that were chosen
        listed = _times(plan.times, made.management.chains)
        other = turned(config)
        planned = _times(plan.times, lambda: predicted(made.management.plan(other).segments))
        say(f"list {median(listed):.0f} ms, plan {median(planned):.0f} ms")
        answers = _load(plan, config, operation.id)
        memory = made.peak_memory_mb()
        _settle(made)
        made.check_answers()
        reconciled = _restart(made)
        say(f"all lost, and back {reconciled:.1f} s after the start")
        memory = max(memory, made.peak_memory_mb())
        made.check_answers()
    figures = {
        "list_ms": figure(listed, "ms", 1),
        "plan_ms": figure(planned, "ms", 1),
        "reconcile_s": Figure(round(reconciled, 2), "s"),
        "memory_mb": Figure(
            round(memory + HISTORY_MB, 1),
            f"MB, the most that it ever had, and {HISTORY_MB} for a full history",
        ),
        "p99_ms": Figure(round(load.p99([answer.ms for answer in answers]), 1), _mixed(plan, answers)),
        "errors": Figure(sum(answer.fault is not None for answer in answers), f"of {len(answers)} requests"),
    }
    facts = {
        "chains": plan.chains,
        "segments": plan.segments,
        "first_apply_s": round(first, 2),
        "client_lag_p99_ms": round(load.p99([answer.lag for answer in answers]), 1),
    }
    return Part(figures, CLAIMS, list(load.told(answers)), facts)


def _times(count: int, work: Callable[[], Any]) -> list[float]:
    """Milliseconds of each call."""
    taken = []
    for _ in range(count):
        begun = time.monotonic()
        work()
        taken.append(1000 * (time.monotonic() - begun))
    return taken


def _load(plan: Plan, config: ServiceConfig, operation: str) -> list[Answer]:
    source = random.Random(_SEED)
    due = load.arrivals(plan.rate, plan.seconds, source)
    return asyncio.run(load.drive(MANAGEMENT_URL, load.Calls(config, operation, source), due))


def _mixed(plan: Plan, answers: list[Answer]) -> str:
    largest = max(answer.ms for answer in answers)
    return f"ms, {plan.rate:g} requests a second for {plan.seconds:g} s (max {largest:.0f})"


def _settle(made: Site) -> None:
    """Until what the load has begun is done."""

    def settled() -> bool:
        return all(operation.state != "running" for operation in made.management.operations())

    wait_until(settled, "the end of all operations", interval=0.1)


def _restart(made: Site) -> float:
    """All processes die, and nobody but the management system remembers anything. Seconds from its start
    until all others hold what they shall, and it says that all is well."""
    chains = len(made.management.chains())
    made.kill()
    made.start_stand_ins()
    begun = time.monotonic()
    made.start_management()
    whole = {"steered": chains, "pairs": chains, "active": chains}
    wait_until(lambda: made.held() == whole, f"{chains} chains at all parts", interval=0.05)
    wait_until(lambda: made.management.health().status == "ok", "it is well", interval=0.02)
    wait_until(lambda: not [chain for chain in made.management.chains() if chain.reason], "no chain waits")
    return time.monotonic() - begun
