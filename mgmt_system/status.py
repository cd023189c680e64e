"""One look at everything: are the parts well, and what do the chains carry? It never waits for long."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from catenary import wire
from catenary.chain import ChainState
from catenary.errors import CatenaryError
from catenary.tags import TagPair
from mgmt_system import adoption
from mgmt_system.agreement import differs, stranger
from mgmt_system.current import Current
from mgmt_system.peers import CONTROLLER, Peers
from mgmt_system.standbys import Watched

T = TypeVar("T")
MASTERS, OTHERS = 0.6, 0.9
"""Seconds that masters are waited for, and then all who nobody told of. The silent ones are left out."""
Answer = wire.BalancerStats | CatenaryError


class StatusPage:
    """Asks the masters, who tell of their slaves, and then the load balancers that nobody told of.

    `peers` should have a timeout no longer than `MASTERS` and `OTHERS` together. At most `WORKERS` questions
    are open at a time, so callers can't pile up threads on a part that hangs.
    """

    WORKERS = 16

    def __init__(self, peers: Peers, network: Current) -> None:
        self._peers = peers
        self._network = network
        self._pool = ThreadPoolExecutor(self.WORKERS, thread_name_prefix="status")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def gather(self, chains: Collection[wire.ChainStatus]) -> wire.StatusView:
        """`chains` are those whose loads are wanted."""
        controller = self._ask(self._peers.controller.health)
        views = self._ask(self._segments)
        standbys = {
            name: self._ask(self._health(name, at.standby.url))
            for name, at in self._network.balancers.items()
            if at.standby is not None
        }
        looks = self._look([controller, views, *standbys.values()])
        services = [_controller_status(self._network.controller_url, _answer(controller))]
        services += [self._balancer_status(name, look) for name, look in looks.items()]
        stats = {name: look for name, look in looks.items() if isinstance(look, wire.BalancerStats)}
        masters = {name: stats.get(segment.master) for name, segment in self._network.segments.items()}
        loads = {name: _Loads.of(master) for name, master in masters.items() if master}
        inserted = _answer(views)
        return wire.StatusView(
            services=services,
            standbys=[row for name, look in standbys.items() for row in self._standby(name, look, stats)],
            segments=[
                self._segment(name, masters[name], {} if isinstance(inserted, CatenaryError) else inserted)
                for name in self._network.segments
            ],
            chains=[_load(chain, loads.get(chain.segment)) for chain in chains],
            counters={name: dict(balancer.counters) for name, balancer in stats.items()},
        )

    def _look(self, others: list[Future[Any]]) -> dict[str, Answer]:
        """How each load balancer is. A slave is known by its master, unless that does not tell."""
        pairs = [(segment.master, segment.slave) for segment in self._network.segments.values()]
        asked = {master: self._ask(self._counter(master)) for master, _ in pairs}
        wait([*others, *asked.values()], MASTERS)
        told: dict[str, Answer] = {}
        for master, slave in pairs:
            stats = asked[master].result() if asked[master].done() else None
            if isinstance(stats, wire.BalancerStats) and stats.peer is not None:
                told[slave] = stats.peer
        names = list(self._peers.balancers)
        asked |= {name: self._ask(self._counter(name)) for name in names if name not in asked | told}
        wait([*others, *asked.values()], OTHERS)
        told |= {name: _answer(future) for name, future in asked.items()}
        return {name: told[name] for name in names}

    def sessions(self, chains: Collection[wire.ChainView]) -> dict[str, int | None]:
        """Live sessions of these chains; None where their master does not tell. No other part is asked."""
        segments = {chain.segment for chain in chains} & self._network.segments.keys()
        asked = {name: self._ask(self._counter(self._network.segments[name].master)) for name in segments}
        wait(asked.values(), MASTERS + OTHERS)
        said = {name: _answer(future) for name, future in asked.items()}
        loads = {
            name: _Loads.of(stats) for name, stats in said.items() if isinstance(stats, wire.BalancerStats)
        }
        pairs = {chain.name: _pair(chain, loads.get(chain.segment)) for chain in chains}
        return {name: None if pair is None else pair.sessions for name, pair in pairs.items()}

    def _health(self, name: str, url: str) -> Callable[[], wire.BalancerHealth]:
        return lambda: self._peers.at(name, url).health()

    def _standby(
        self,
        name: str,
        look: Future[wire.BalancerHealth | CatenaryError],
        stats: Mapping[str, wire.BalancerStats],
    ) -> Iterator[wire.StandbyStatus]:
        at = self._network.balancers.get(name)
        if at is None or at.standby is None:  # it has gone meanwhile
            return
        for key, segment in self._network.segments.items():
            if name in (segment.master, segment.slave):
                master = stats.get(segment.master)
                role: wire.Role = "master" if name == segment.master else "slave"
                peer = master.health.peer if master else None
                yield Watched(name, key, role, at, peer).told(_answer(look))

    def _counter(self, name: str) -> Callable[[], wire.BalancerStats]:
        return lambda: self._peers.balancers[name].stats()

    def _ask(self, call: Callable[[], T]) -> Future[T | CatenaryError]:
        """In the context of the caller, which names the request that all of it is for."""
        return self._pool.submit(copy_context().run, _try, call)

    def _segments(self) -> dict[str, wire.SegmentView]:
        """Which pairs are in the way; where all are from the beginning there is nothing to ask."""
        if all(segment.inserted for segment in self._network.segments.values()):
            return {}
        return {view.name: view for view in self._peers.controller.segments()}

    def _segment(
        self, name: str, master: wire.BalancerStats | None, views: Mapping[str, wire.SegmentView]
    ) -> wire.SegmentStatus:
        config = self._network.segments[name]
        always = wire.SegmentView(name=name, inserted=True)
        view = always if config.inserted else views.get(name)
        return wire.SegmentStatus(
            name=name,
            master=config.master,
            slave=config.slave,
            inserted=view.inserted if view else None,
            adopting=adoption.left(config, view) if view else 0.0,
            epoch=master.epoch if master else None,
            entered=master.entered if master else None,
        )

    def _balancer_status(self, name: str, look: Answer) -> wire.ServiceStatus:
        balancer = self._network.balancers.get(name)  # it may have gone meanwhile
        url = balancer.url if balancer else ""
        if isinstance(look, CatenaryError):
            return wire.ServiceStatus(name=name, url=url, ok=False, reason=look.detail)
        well = look.health.status == "ok"
        reason = None if well else look.health.reason or look.health.peer.reason or "degraded"
        for segment_name, segment in self._network.segments.items():
            if name in (segment.master, segment.slave):
                role: wire.Role = "master" if name == segment.master else "slave"
                reason = stranger(name, role, segment_name, look.health) or reason
            if segment.master == name:
                reason = reason or differs(segment, look.health)
        return wire.ServiceStatus(name=name, url=url, ok=reason is None, reason=reason)


def _try(call: Callable[[], T]) -> T | CatenaryError:
    try:
        return call()
    except CatenaryError as error:
        return error


def _answer(future: Future[T | CatenaryError]) -> T | CatenaryError:
    if not future.done():
        future.cancel()
        return CatenaryError(f"no answer within {MASTERS + OTHERS:g} s")
    return future.result()


def _controller_status(url: str, health: wire.ControllerHealth | CatenaryError) -> wire.ServiceStatus:
    if isinstance(health, CatenaryError):
        return wire.ServiceStatus(name=CONTROLLER, url=url, ok=False, reason=health.detail)
    ok = health.status == "ok"
    connected = f"{health.switches_connected} of {health.switches_expected} switches are connected"
    return wire.ServiceStatus(
        name=CONTROLLER, url=url, ok=ok, reason=None if ok else health.reason or connected
    )


@dataclass(frozen=True)
class _Loads:
    """What a master tells of its pairs; `total` are the live sessions that entered."""

    pairs: Mapping[TagPair, wire.PairStats]
    total: int

    @classmethod
    def of(cls, master: wire.BalancerStats) -> Self:
        pairs = {TagPair(pair.forward, pair.reverse): pair for pair in master.pairs}
        return cls(pairs, sum(pair.sessions for pair in master.pairs if not pair.bypass))


def _pair(chain: wire.ChainView, loads: _Loads | None) -> wire.PairStats | None:
    """What the master tells of a chain. The tags of one that failed may be another one's."""
    return loads.pairs.get(chain.tags.pair()) if loads and chain.state is not ChainState.FAILED else None


def _load(chain: wire.ChainStatus, loads: _Loads | None) -> wire.ChainStatus:
    """A chain with its load at the master; without one the load stays unknown."""
    pair = _pair(chain, loads)
    if loads is None or pair is None:
        return chain
    load = {
        "sessions": pair.sessions,
        "new_sessions": pair.new_sessions,
        "bytes": pair.forward_bytes + pair.reverse_bytes,
        "share": pair.sessions / loads.total if loads.total and not pair.bypass else None,
        "health": pair.health,
    }
    return chain.model_copy(update=load)
