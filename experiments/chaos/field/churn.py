"""Chains that come and go all the time, and how soon `drained` is shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from catenary import wire
from catenary.chain import ChainState
from catenary.client import ManagementClient
from catenary.errors import CatenaryError, Conflict, NotFound
from catenary.part_clients import BalancerClient
from catenary.tags import TagPair
from experiments.chaos.field.chronicle import Chronicle
from topologies.testbed import FIG4

_POLL_S, _SOON_S = 0.1, 0.03
_REST_S = 0.3
_HELD_UP_S = 0.2
"""A machine that lets a pause take so much longer tells nothing of how soon anything is shown."""
LAST_TAG = 25
_TAGS = tuple(TagPair(vid, vid + 1) for vid in range(2, LAST_TAG, 2))
"""Forward IDs are even, reverse ones odd: `faults.cut_bypass` tells them apart by that."""


@dataclass(frozen=True)
class Drain:
    """A removal that no fault disturbed.

    `allowed` is the moment from which the rules allow `drained`, `shown` when the management system said so.
    Both s, monotonic; as far as the first is not known exactly, it is too early, never too late.
    """

    chain: str
    allowed: float
    shown: float

    @property
    def detect_s(self) -> float:
        return self.shown - self.allowed


class Probes(Protocol):
    """Where chains, and the pins of their sessions, are asked about."""

    @property
    def management(self) -> ManagementClient: ...
    @property
    def master(self) -> BalancerClient: ...
    @property
    def slave(self) -> BalancerClient: ...


class Churn:
    """Three chains, one a network function: one after the other is removed, drains, and comes back anew."""

    def __init__(self, probes: Probes, transit: float, chronicle: Chronicle) -> None:
        self._probes = probes
        self._transit = transit
        self._chronicle = chronicle
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, "churn")
        self._work: Future[None] | None = None
        self._made = 0
        self._nf_of: dict[str, str] = {}
        self._reserved: str | None = None
        self.leaving: str | None = None
        self.drains: list[Drain] = []
        self._disturbed_until = float("-inf")

    def start(self) -> None:
        for nf in FIG4.nfs:
            self._add(nf)
        self._work = self._pool.submit(self._run)

    def stop(self) -> None:
        """End it where it is; may be called twice. Raises what it ended of by itself."""
        self._stop.set()
        self._pool.shutdown()
        if self._work is not None:
            self._work.result()

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Inside, the services can't do their work: removals that end then tell nothing of their speed."""
        self._disturbed_until = float("inf")
        try:
            yield
        finally:
            self._disturbed_until = time.monotonic()

    def reserve(self) -> str:
        """A chain that stays for now, for changes by others, until `release`."""
        with self._lock:
            self._reserved = next(name for name in reversed(self._nf_of) if name != self.leaving)
            return self._reserved

    def nf_in_use(self) -> str:
        """A network function whose chain takes new sessions."""
        with self._lock:
            return next(nf for name, nf in reversed(self._nf_of.items()) if name != self.leaving)

    def release(self) -> None:
        with self._lock:
            self._reserved = None

    def chains(self) -> str:
        """For the timeline: the one that is leaving stands in brackets."""
        with self._lock:
            names = sorted(self._nf_of)
            return " ".join(f"({name})" if name == self.leaving else name for name in names)

    def _run(self) -> None:
        while not self._stop.wait(_REST_S):
            self._turn()

    def _turn(self) -> None:
        """Let the oldest chain go, and bring its network function back as a new one."""
        with self._lock:
            name = self.leaving = next(name for name in self._nf_of if name != self._reserved)
        gone = self._remove(name)
        with self._lock:
            nf, self.leaving = (self._nf_of.pop(name) if gone else None), None
        if nf is not None:
            self._add(nf)

    def _add(self, nf: str) -> None:
        """Add a chain of this NF, however often that takes: requests and answers may be lost or refused."""
        name = ""
        while not self._stop.is_set():
            with suppress(CatenaryError):
                state = self._probes.management.chain(name).state if name else ChainState.FAILED
                if state is ChainState.ACTIVE:
                    with self._lock:
                        self._nf_of[name] = nf
                    self._chronicle.change(f"chain {name} added")
                    return
                if state is ChainState.FAILED:
                    name = self._ask_for(nf)
            self._stop.wait(_SOON_S)

    def _ask_for(self, nf: str) -> str:
        """The name of its chain: of one that is there already, if the answer to a request was lost."""
        for view in self._probes.management.chains():
            if view.nfs == [nf] and view.state is not ChainState.FAILED:
                return view.name
        self._made += 1
        tags = wire.Tags.of(_TAGS[self._made % len(_TAGS)])
        request = wire.ChainRequest(name=f"{nf}-{self._made}", nfs=[nf], tags=tags)
        return self._probes.management.add_chain(request).chain

    def _remove(self, name: str) -> bool:
        """Remove it and wait until it is gone; False if this is stopped before."""
        watch, shown = None, False
        while not self._stop.is_set():
            try:
                view = self._probes.management.chain(name)
                now = time.monotonic()
                if view.state is ChainState.ACTIVE:
                    watch = _Watch(self._probes, view.tags.pair(), self._transit)
                    self._probes.management.remove_chain(name)
                elif view.state is ChainState.COOLING:
                    if watch is not None:
                        watch.look()
                elif not shown:
                    shown = True
                    self._done(name, watch, now)
                if view.state is ChainState.REMOVED:
                    return True
            except Conflict:
                pass  # it is being removed already, or the session table is full: the chain's state tells
            except CatenaryError:
                watch = None
            if self._held_up():
                watch = None
        return False

    def _held_up(self) -> bool:
        """Pause; did it take much longer than it should?"""
        begun = time.monotonic()
        self._stop.wait(_POLL_S)
        return time.monotonic() - begun > _POLL_S + _HELD_UP_S

    def _done(self, name: str, watch: _Watch | None, now: float) -> None:
        if watch is None or self._disturbed_until > watch.gone():
            self._chronicle.change(f"chain {name} drained")
            return
        drain = Drain(name, watch.allowed(), now)
        self.drains.append(drain)
        self._chronicle.change(f"chain {name} drained, shown {drain.detect_s:.2f} s after the rules allow it")


class _Watch:
    """Reads pins and leases of a pair that cools down, from its removal on."""

    def __init__(self, probes: Probes, tags: TagPair, transit: float) -> None:
        self._probes = probes
        self._tags = tags
        self._transit = transit
        self._begun = self._pinned = self._leased = time.monotonic()

    def look(self) -> None:
        now = time.monotonic()
        if self._left(self._probes.master):
            self._pinned = now
        if self._left(self._probes.slave):
            self._leased = now

    def _left(self, balancer: BalancerClient) -> int:
        try:
            return balancer.activity(self._tags).sessions
        except NotFound:
            return 0

    def gone(self) -> float:
        """The last moment at which a pin or lease was seen."""
        return max(self._pinned, self._leased)

    def allowed(self) -> float:
        return allowed(self._begun, self._pinned, self._leased, self._transit)


def allowed(begun: float, pinned: float, leased: float, transit: float) -> float:
    """When affinity rule 6 allows `drained`: of a removal `begun`, the last pin and lease seen then (s).

    2 D after the removal, and with no pin left at the master, it is closed; then another 2 D, and no lease.
    """
    return max(max(pinned, begun + 2 * transit) + 2 * transit, leased)
