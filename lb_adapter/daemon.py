"""What master and slave have in common: one lock around the chain set, a data plane below.

A thin shell, as are `master` and `slave`: what may change and what follows from it is decided in `balancer`,
`peering` and `overflow`.
"""

from __future__ import annotations

import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from weakref import WeakSet

import structlog

from catenary import capabilities, wire
from catenary.chain import PairState
from catenary.errors import CatenaryError, Conflict, Unsupported
from catenary.session import SessionKey
from catenary.tags import TagPair
from lb_adapter import copies, overflow
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.capture import Capture, Limits, Wanted
from lb_adapter.core.setup import Order
from lb_adapter.dataplane.base import DataPlane, Load, SpliceConfig, Swept, Traffic
from lb_adapter.listing import Listing, SessionQuery
from lb_adapter.pacing import SHARE, Pace
from lb_adapter.selecting import STATES, Look

log = structlog.get_logger("lb_adapter")
BUSY_TICK, IDLE_TICK = 0.1, 1.0
CAPTURES = 4
"""At a time: each takes frames as fast as they come."""


def told(error: Exception) -> str:
    """An error in words. One that nobody foresaw is logged with its place."""
    if isinstance(error, CatenaryError):
        return error.detail
    log.error("unforeseen error", exc_info=error)
    return f"{type(error).__name__}: {error}"


def to_wire(segment: str, table: ChainTable) -> wire.ChainSet:
    pairs = [
        wire.PairView(
            forward=p.tags.forward,
            reverse=p.tags.reverse,
            weight=p.weight,
            slot=p.slot,
            generation=p.generation,
            state=p.state,
            bypass=p.bypass,
            condition=p.condition,
        )
        for p in table.pairs
    ]
    used = {pair.slot for pair in pairs}
    return wire.ChainSet(
        segment=segment,
        epoch=table.epoch,
        designated=table.designated,
        pairs=pairs,
        free=[
            wire.FreeSlot(slot=slot, generation=last)
            for slot, last in table.generations.items()
            if slot not in used
        ],
        classifier=[wire.TrafficRule.of(rule) for rule in table.rules],
        health=None if table.check is None else wire.HealthCheckModel.of(table.check),
    )


def from_wire(chain_set: wire.ChainSet, now: float) -> ChainTable:
    pairs = tuple(
        Pair(p.pair(), p.slot, p.generation, p.weight, p.weight, p.state, now, p.bypass, p.condition)
        for p in chain_set.pairs
    )
    generations = {row.slot: row.generation for row in chain_set.free} | {p.slot: p.generation for p in pairs}
    rules = tuple(item.rule() for item in chain_set.classifier)
    check = None if chain_set.health is None else chain_set.health.check()
    return ChainTable(chain_set.epoch, pairs, generations, rules=rules, check=check)


class Daemon(ABC):
    """State and rules common to both roles; `Master` and `Slave` add theirs."""

    def __init__(
        self,
        plane: DataPlane,
        config: SpliceConfig,
        segment: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plane = plane
        self._config = config
        self._segment = segment
        self._clock = clock
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._load: dict[int, Load] = {}
        self._pace = Pace()
        self._left_out = 0
        self._moving_until = 0.0
        self._trouble: str | None = None
        self._ticked = clock()
        self._captures: WeakSet[Capture] = WeakSet()
        self._thread = threading.Thread(target=self._run, name="tick", daemon=True)
        self.instance = secrets.token_hex(8)
        plane.configure(config)
        self._counters = plane.counters()
        self._listing = Listing(plane, clock)

    @abstractmethod
    def health(self) -> wire.BalancerHealth:
        """How it is, and its peer."""

    @property
    @abstractmethod
    def table(self) -> ChainTable:
        """The chain set in force."""

    @abstractmethod
    def _settled_epoch(self, patience: float) -> int | None:
        """The epoch of all pins that are there; None if the chain set changes for longer than `patience`."""

    def feed(self) -> Iterator[bytes]:
        """What its standby follows (`feed`), until that goes away or this ends."""
        return copies.feed(self._plane, self._settled_epoch, self._clock, self._stop.wait)

    def wake(self) -> None:
        """Have the next tick come at once."""
        self._wake.set()

    def start(self, settled: Callable[[], None] = lambda: None) -> None:
        """Frames flow through the data plane from now on. `settled`: called before threads start."""
        self._plane.attach()
        log.info("attached", role=self._config.role, outer=self._config.outer, inner=self._config.inner)
        settled()
        self._attached()
        self._thread.start()

    def _attached(self) -> None:  # noqa: B027 - a slave has nothing to do then
        """Called when frames begin to flow through the data plane."""

    def stop(self, *, detach: bool) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        if detach:
            self._plane.detach()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
                self._trouble = None
            except Exception as error:  # noqa: BLE001 - whatever it was, the next tick may do better
                self._trouble = told(error)
                log.warning("tick failed", reason=self._trouble)
            self._ticked = self._clock()
            self._wake.wait(self._pause())
            self._wake.clear()

    def idle(self) -> float:
        """Seconds since the last tick ended; more than some means that the next one hangs."""
        return self._clock() - self._ticked

    def _pause(self) -> float:
        """s until the next tick."""
        return BUSY_TICK if self._busy() else IDLE_TICK

    def _busy(self) -> bool:
        return self.table.cooling_down()

    def _share(self) -> float:
        """Of the time, what the ticks' walks may take."""
        return SHARE

    def tick(self) -> bool:
        """What is to be looked at again and again; True if the session table was walked, too."""
        with self._lock:
            begun = self._clock()
            walked = self._pace.due(begun, self._share())
            if walked:
                self._walk()
                self._pace = self._pace.walked(begun, self._clock())
            before, self._counters = self._counters, self._plane.counters()
            self._watch(before)
            self._listing.remember(self.table)
        return walked

    def _walk(self) -> dict[int, Load]:
        """What is in force, by slot; the rest is reclaimed, and tombstones, where the living need room."""
        with self._lock:
            self._load = self._plane.walk()
            if overflow.crowded(self._load.values(), self._plane.capacity):
                self._plane.sweep(Order("forget"))
                self._load = self._plane.walk()
            return self._load

    def _watch(self, before: Mapping[str, int]) -> None:
        """A tag contradicted a live pin since `before`: the one alarm without taps (affinity rule 2)."""
        total = self._counters["affinity_mismatch"]
        packets = total - before["affinity_mismatch"]
        if packets and self._clock() < self._moving_until:
            log.info("packets of moved sessions were under way", packets=packets, total=total)
        elif packets:
            log.error("affinity mismatch", packets=packets, total=total)

    def sweep_here(self, order: Order) -> Swept:
        """End sessions of this data plane. What moves while it lives contradicts its pin for a while."""
        with self._lock:
            swept = self._plane.sweep(order)
            if swept.moved and not order.idle:
                timeouts = self._config.timeouts
                self._moving_until = self._clock() + timeouts.lease + 2 * timeouts.transit
        return swept

    def pairs(self) -> wire.ChainSet:
        """The chain set, with what probes say of it."""
        probed = self._probed()
        with self._lock:
            found = to_wire(self._segment, self.table)
        pairs = [pair.model_copy(update={"health": probed.get(pair.pair())}) for pair in found.pairs]
        return found.model_copy(update={"pairs": pairs}) if probed else found

    def capture(self, tags: TagPair, key: SessionKey | None, limits: Limits) -> Capture:
        """A pcap of what one pair gets and gives at the inner port. Raises `NotFound` for an unknown pair."""
        self.table.find(tags)
        if self._plane.name == "pf_ring":
            raise Unsupported("pf_ring passes frames by the kernel: capture at the other load balancer")
        sent, received = tags.ids if self._config.role == "master" else reversed(tags.ids)
        with self._lock:
            if sum(not made.closed for made in self._captures) >= CAPTURES:
                raise Conflict(f"{CAPTURES} captures are under way here: wait for one to end")
            made = Capture(self._config.inner, Wanted(sent, received, key), limits)
            self._captures.add(made)
        return made

    def sessions(self, query: SessionQuery) -> tuple[list[wire.SessionEntry], str | None]:
        """A page of sessions, and where the next one begins. Packets and orders go on meanwhile."""
        return self._listing.page(query, self._judging())

    def session(self, text: str) -> wire.SessionEntry:
        """A session, the last of its key if it ended; `NotFound` if nothing is known of it."""
        return self._listing.one(self.single(text), self._judging())

    def _judging(self) -> Look:
        """Without the lock: a walk over a million pins holds it for as long as an answer may take."""
        return self._listing.look(self.table, self._config.timeouts)

    def single(self, text: str) -> SessionKey:
        """The key of one session; `Conflict` in a segment that keeps several together."""
        if self._config.affinity != "session":
            raise Conflict(
                f"this segment keeps sessions together by {self._config.affinity}: it has no single one"
            )
        return SessionKey.parse(text)

    def own_stats(self) -> wire.BalancerStats:
        """Without its peer's, which is not asked."""
        return self._stats(None)

    def _stats(self, peer: wire.BalancerStats | None) -> wire.BalancerStats:
        health = self.health()
        probed = self._probed()
        with self._lock:
            # A long walk is not made for each who asks. But leases prove that a chain is drained: they are
            # counted when the master asks for them.
            if not self._pace.long or any(pair.state is PairState.CLOSED for pair in self.table.pairs):
                self._walk()
            traffic = self._plane.traffic()
            rows = [
                wire.PairStats(
                    forward=p.tags.forward,
                    reverse=p.tags.reverse,
                    slot=p.slot,
                    bypass=p.bypass,
                    state=p.state,
                    condition=p.condition,
                    health=probed.get(p.tags),
                    sessions=self._load.get(p.slot, Load()).live,
                    **asdict(traffic.get(p.slot, Traffic())),
                )
                for p in self.table.pairs
            ]
            return wire.BalancerStats(
                health=health,
                role=self._config.role,
                segment=self._segment,
                epoch=self.table.epoch,
                pins=sum(load.entries for load in self._load.values()),
                states=self._states(),
                capacity=self._plane.capacity,
                overflow=self._plane.overflow(),
                pairs=rows,
                counters=self._plane.counters() | self._own_counters(),
                entered=self._plane.entered(),
                peer=peer,
            )

    def _probed(self) -> Mapping[TagPair, wire.PairHealth]:
        """What probes say of chains, at a master that sends some."""
        return {}

    def _prepare(self, table: ChainTable) -> None:
        """Before the first probe comes what it is must be known."""
        probes = table.check.ends if table.check else None
        if probes != self._config.probes:
            self._config = replace(self._config, probes=probes)
            self._plane.configure(self._config)

    def _states(self) -> dict[str, int]:
        """Sessions of all chains by state; a reset one is nobody's."""
        rows = [load.states for load in self._load.values() if load.states]
        return {
            name: sum(row[number] for row in rows) for number, name in enumerate(STATES) if name != "reset"
        }

    def _own_counters(self) -> dict[str, int]:
        """What is counted here, and not by the data plane."""
        return {}

    def _reason(self) -> str | None:
        """What is wrong here, if anything is."""
        return self._trouble

    def _health(self, peer: wire.PeerHealth, term: int, slave_term: int) -> wire.BalancerHealth:
        trouble = self._reason()
        return wire.BalancerHealth(
            status="ok" if peer.connected and trouble is None else "degraded",
            reason=trouble,
            role=self._config.role,
            segment=self._segment,
            data_plane=self._plane.name,
            epoch=self.table.epoch,
            instance=self.instance,
            ask_id=self._config.ask_id,
            timeouts=wire.TimeoutsModel(**asdict(self._config.timeouts)),
            rewrites=self._config.rewrites,
            capabilities=capabilities.held(),
            peer=peer,
            clock_ms=self._plane.now_ms(),
            term=term,
            slave_term=slave_term,
        )
