"""A load that rises and falls, and a segment that follows it by itself: 1 -> 3 -> 1 chains."""

from __future__ import annotations

from statistics import median

from experiments.operations.plan import Plan
from experiments.operations.rising import IN_WINDOW_S, Outcome, cycles
from experiments.part import Part, Say
from experiments.summary import Claim, Figure

CLAIMS = (
    Claim("autoscale_violations", at_least=0, at_most=0),
    Claim("autoscale_failed", at_least=0, at_most=0),
    Claim("autoscale_lasted_s", at_least=IN_WINDOW_S),
)


def measure(plan: Plan, say: Say) -> Part:
    """As many cycles with a pool of NFs, and with a program that starts and stops them."""
    found = {}
    for name, hook in (("pool", False), ("program", True)):
        found[name] = cycles(plan.autoscale_cycles, hook=hook)
        say(_line(name, found[name]))
    every = [cycle for outcome in found.values() for cycle in outcome.cycles]
    requests = sum(outcome.requests.requests for outcome in found.values() if outcome.requests)
    figures = {
        "autoscale_violations": Figure(
            sum(outcome.violations for outcome in found.values()),
            f"sessions that crossed two chains, or none, in {len(every)} cycles of 1 -> 3 -> 1 chains",
        ),
        "autoscale_failed": Figure(
            sum(outcome.failed for outcome in found.values()),
            f"requests and sessions that failed, of {requests} requests and all sessions",
        ),
        "autoscale_lasted_s": Figure(
            round(min(cycle.lasted for cycle in every), 1),
            f"s, the shortest for which sessions outlived their chain's removal (window {IN_WINDOW_S:g} s)",
        ),
        "autoscale_rise_s": Figure(
            round(median(cycle.rise for cycle in every), 1), "s from the load's rise to three chains (median)"
        ),
        "autoscale_fall_s": Figure(
            round(median(cycle.fall for cycle in every), 1), "s from its fall to one (median)"
        ),
        "autoscale_taken_back": Figure(
            sum(cycle.back for cycle in every), "cycles in which a chain that cooled down was taken back"
        ),
    }
    return Part(figures, CLAIMS, [_line(name, outcome) for name, outcome in found.items()])


def _line(name: str, outcome: Outcome) -> str:
    rises = ", ".join(f"{cycle.rise:.1f}" for cycle in outcome.cycles)
    falls = ", ".join(f"{cycle.fall:.1f}" for cycle in outcome.cycles)
    return (
        f"{name}: {len(outcome.cycles)} cycles, up in {rises} s, down in {falls} s, "
        f"{outcome.violations} violations, {outcome.failed} failures"
    )
