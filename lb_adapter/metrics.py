"""A load balancer's statistics as metrics. Pure.

All have the segment and the role, so that a rule or a panel need not know which target is which.
"""

from __future__ import annotations

from collections.abc import Iterator

from catenary import wire
from catenary.metrics import Metric, Sample

_OF = ("segment", "role")
_PAIR = (*_OF, "pair")
_WAY = (*_PAIR, "direction")

INFO = Metric("catenary_lb_info", "1; the data plane that carries the packets.", (*_OF, "data_plane"))
HEALTHY = Metric("catenary_lb_healthy", "Is it ok (1), or degraded (0)?", _OF)
PEER = Metric("catenary_lb_peer_connected", "Do master and slave follow each other?", _OF)
LAG = Metric(
    "catenary_lb_peer_lag_seconds", "Where chains rewrite: since the last exchange of keys began.", _OF
)
STANDBY = Metric(
    "catenary_lb_standby_following",
    "At a standby: has it what its load balancer has (1), or not, or taken its place (0)?",
    _OF,
)
STANDBY_LAG = Metric(
    "catenary_lb_standby_lag_seconds", "At a standby: since it had all pins of its load balancer.", _OF
)
EPOCH = Metric("catenary_lb_epoch", "Version of its chain set; it only grows.", _OF)
TABLE = Metric("catenary_lb_table_sessions", "Sessions in its table, in whatever state.", _OF)
CAPACITY = Metric("catenary_lb_table_capacity_sessions", "Sessions that its table has room for.", _OF)
OVERFLOW = Metric(
    "catenary_lb_table_overflow", "Is the table full, so that the plain hash places new sessions?", _OF
)
SESSIONS = Metric("catenary_lb_sessions", "Sessions of all chains by state.", (*_OF, "state"))
STATE = Metric("catenary_lb_pair_state", "1 for the state that the tag pair is in.", (*_PAIR, "state"))
LIVE = Metric("catenary_lb_pair_sessions", "Sessions of the tag pair that live now.", _PAIR)
NEW = Metric("catenary_lb_pair_new_sessions_total", "Sessions that were placed or learned.", _PAIR)
PACKETS = Metric(
    "catenary_lb_pair_packets_total",
    "Packets, as the kernel hands them over; forward = client to server.",
    _WAY,
)
BYTES = Metric(
    "catenary_lb_pair_bytes_total", "Bytes of their Ethernet frames, without the chain's tag.", _WAY
)
ENDED = Metric(
    "catenary_lb_pair_ended_sessions_total", "Sessions that an order reset or moved.", (*_PAIR, "how")
)
CONDITION = Metric(
    "catenary_lb_pair_condition",
    "1 for what probes made of it: up, down (takes no new session) or shut (its own were ended, too).",
    (*_PAIR, "condition"),
)
PROBES = Metric(
    "catenary_lb_pair_probes_total", "Probes that came back in time, or were lost.", (*_PAIR, "fate")
)
LATENCY = Metric(
    "catenary_lb_pair_latency_seconds", "Of its last probe that came back, through the chain and back.", _PAIR
)
ENTERED = Metric(
    "catenary_lb_entered_sessions_total",
    "New sessions by the entry of the classifier that they agreed with.",
    (*_OF, "entry"),
)
DROPPED = Metric("catenary_lb_dropped_packets_total", "Packets dropped, by reason.", (*_OF, "reason"))
EVENTS = Metric("catenary_lb_events_total", "What was counted and is no drop.", (*_OF, "event"))
METRICS = (
    INFO, HEALTHY, PEER, LAG, STANDBY, STANDBY_LAG, EPOCH, TABLE, CAPACITY, OVERFLOW, SESSIONS, STATE, LIVE,
    NEW, PACKETS, BYTES, ENDED, CONDITION, PROBES, LATENCY, ENTERED, DROPPED, EVENTS,
)  # fmt: skip
_DROP = "drop_"


def samples(stats: wire.BalancerStats) -> Iterator[Sample]:
    """Of the load balancer itself; its peer is a target of its own."""
    health = stats.health
    of = (stats.segment, stats.role)
    yield INFO(1, *of, health.data_plane)
    yield HEALTHY(health.status == "ok", *of)
    yield PEER(health.peer.connected, *of)
    if health.peer.lag is not None:
        yield LAG(health.peer.lag, *of)
    if health.standby is not None:
        yield STANDBY(health.standby.state == "following" and health.standby.reason is None, *of)
        if health.standby.lag is not None and health.standby.state == "following":
            yield STANDBY_LAG(health.standby.lag, *of)
    yield EPOCH(stats.epoch, *of)
    yield TABLE(stats.pins, *of)
    yield CAPACITY(stats.capacity, *of)
    yield OVERFLOW(stats.overflow, *of)
    for state, count in stats.states.items():
        yield SESSIONS(count, *of, state)
    for pair in stats.pairs:
        yield from _pair(pair, *of)
    for entry, count in enumerate(stats.entered):
        yield ENTERED(count, *of, str(entry))
    for name, count in stats.counters.items():
        if name.startswith(_DROP):
            yield DROPPED(count, *of, name.removeprefix(_DROP))
        else:
            yield EVENTS(count, *of, name)


def _pair(pair: wire.PairStats, *of: str) -> Iterator[Sample]:
    labels = (*of, pair.pair().path)
    yield STATE(1, *labels, pair.state)
    yield LIVE(pair.sessions, *labels)
    yield NEW(pair.new_sessions, *labels)
    yield PACKETS(pair.forward_packets, *labels, "forward")
    yield PACKETS(pair.reverse_packets, *labels, "reverse")
    yield BYTES(pair.forward_bytes, *labels, "forward")
    yield BYTES(pair.reverse_bytes, *labels, "reverse")
    yield ENDED(pair.reset, *labels, "reset")
    yield ENDED(pair.moved, *labels, "moved")
    yield CONDITION(1, *labels, pair.condition)
    if pair.health is not None:
        yield PROBES(pair.health.sent - pair.health.lost, *labels, "returned")
        yield PROBES(pair.health.lost, *labels, "lost")
        if pair.health.latency_ms is not None:
            yield LATENCY(pair.health.latency_ms / 1000, *labels)
