"""What the management system knows as metrics. Pure.

Sessions and traffic are the load balancers' own metrics, by tag pair; `catenary_management_chain_info` tells
the chain of a pair, to join them by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from catenary import wire
from catenary.autoscale import ScaleView
from catenary.chain import ChainState
from catenary.metrics import Metric, Sample

_CHAIN = ("chain", "segment")

HEALTHY = Metric("catenary_management_healthy", "Is it ok (1), or degraded (0)?")
PART = Metric("catenary_management_part_up", "Does this part answer, and is it well?", ("part",))
INFO = Metric("catenary_management_chain_info", "1; the tag pair of the chain.", (*_CHAIN, "pair"))
STATE = Metric("catenary_management_chain_state", "1 for the state that the chain is in.", (*_CHAIN, "state"))
UP = Metric(
    "catenary_management_chain_up",
    "0 if the chain failed, waits for a part on its way to active, or is down by its probes.",
    _CHAIN,
)
WEIGHT = Metric("catenary_management_chain_weight", "Share of new sessions; 0 is a cordoned chain.", _CHAIN)
BEGAN = Metric(
    "catenary_management_chain_cooling_start_timestamp_seconds",
    "When the chain's cool-down began; only while it cools down.",
    _CHAIN,
)
PREDICTED = Metric(
    "catenary_management_chain_cooling_predicted_seconds",
    "By when its cool-down was to be over, from its beginning, with this probability.",
    (*_CHAIN, "quantile"),
)
SEGMENT_EPOCH = Metric(
    "catenary_management_segment_epoch",
    "Version of the segment's chain set, as its master tells.",
    ("segment",),
)
INSERTED = Metric(
    "catenary_management_segment_inserted", "Is its pair in the way of the traffic?", ("segment",)
)
AROUND = Metric(
    "catenary_management_segment_around",
    "Is traffic led around the segment, past its chains, because a load balancer is gone?",
    ("segment",),
)
GONE = Metric(
    "catenary_management_balancer_gone", "Is the load balancer's machine gone?", ("balancer", "segment")
)
OPERATIONS = Metric("catenary_management_operations", "Operations that are kept, by state.", ("state",))
SCALED = Metric(
    "catenary_management_autoscale_chains",
    "Chains of a segment that scales by itself: those that take new sessions (now), wanted, and bounds.",
    ("segment", "what"),
)
SCALING_HELD = Metric(
    "catenary_management_autoscale_held",
    "Can its autoscaler decide nothing, for want of figures or room?",
    ("segment",),
)
PROVISIONER = Metric(
    "catenary_management_provisioner_failures_total",
    "Times that a copy of its NFs could not be started or stopped.",
    ("segment",),
)
METRICS = (
    HEALTHY, PART, INFO, STATE, UP, WEIGHT, BEGAN, PREDICTED, SEGMENT_EPOCH, INSERTED, AROUND, GONE,
    OPERATIONS, SCALED, SCALING_HELD, PROVISIONER,
)  # fmt: skip
STORE = "store"


def samples(
    health: wire.ManagementHealth,
    status: wire.StatusView,
    operations: Iterable[wire.OperationView],
    autoscalers: Iterable[ScaleView],
) -> Iterator[Sample]:
    """`status` has the store among its parts only while that has a fault."""
    yield HEALTHY(health.status == "ok")
    parts = {STORE: True} | {part.name: part.ok for part in status.services}
    for name, well in parts.items():
        yield PART(well, name)
    for segment in status.segments:
        if segment.epoch is not None:
            yield SEGMENT_EPOCH(segment.epoch, segment.name)
        if segment.inserted is not None:
            yield INSERTED(segment.inserted, segment.name)
        yield AROUND(segment.around, segment.name)
        for balancer in (segment.master, segment.slave):
            yield GONE(balancer in segment.gone, balancer, segment.name)
    for chain in status.chains:
        yield from _chain(chain)
    states = {"running": 0, "succeeded": 0, "failed": 0} | Counter(it.state for it in operations)
    for state, count in states.items():
        yield OPERATIONS(count, state)
    for scaler in autoscalers:
        yield from _scaled(scaler)


def _scaled(scaler: ScaleView) -> Iterator[Sample]:
    counts = {"now": scaler.chains, "wanted": scaler.desired}
    for what, count in (counts | {"minimum": scaler.minimum, "maximum": scaler.maximum}).items():
        if count is not None:
            yield SCALED(count, scaler.segment, what)
    yield SCALING_HELD(scaler.held, scaler.segment)
    yield PROVISIONER(scaler.failures, scaler.segment)


def _chain(chain: wire.ChainStatus) -> Iterator[Sample]:
    labels = chain.name, chain.segment
    if chain.state is not ChainState.FAILED:  # the tags of one that failed may be another one's
        yield INFO(1, *labels, chain.tags.pair().path)
    yield STATE(1, *labels, chain.state)
    yield UP(_is_up(chain), *labels)
    yield WEIGHT(chain.weight, *labels)
    if chain.state is ChainState.COOLING:
        yield BEGAN(chain.changed, *labels)
        for quantile, seconds in (("0.5", chain.p50), ("0.95", chain.p95)):
            if seconds is not None:
                yield PREDICTED(seconds, *labels, quantile)


def _is_up(chain: wire.ChainStatus) -> bool:
    """What else is found out about a chain's health belongs here: `CatenaryChainDown` goes by it."""
    if chain.state in (ChainState.COOLING, ChainState.DRAINED):
        return True  # it waits for its sessions to end
    fell = chain.health is not None and chain.health.verdict == "down"
    return chain.state is not ChainState.FAILED and chain.reason is None and not fell
