"""Answers where a session goes: asks all parts that know, and joins what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import TypeVar

from catenary.chain import ChainState
from catenary.errors import CatenaryError, InvalidValue, NotFound
from catenary.explanations import ChainHops, Explanation, SegmentExplanation
from catenary.session import Directed
from catenary.wire import SessionEntry
from mgmt_system import scene as scenes
from mgmt_system.current import Current
from mgmt_system.history import History
from mgmt_system.journal import JournalEntry
from mgmt_system.peers import Peers
from mgmt_system.reasons import Reasons, summary
from mgmt_system.scene import Heard, Scene
from mgmt_system.store.ledger import Ledger

T = TypeVar("T")
_STEERED = (ChainState.STEERED, ChainState.ACTIVE, ChainState.COOLING, ChainState.DRAINED)


class Explainer:
    """Segments are asked at the same time, `WORKERS` at most: callers can't pile up threads."""

    WORKERS = 8

    def __init__(self, peers: Peers, network: Current, ledger: Ledger, history: History) -> None:
        self._peers = peers
        self._network = network
        self._ledger = ledger
        self._history = history
        self._pool = ThreadPoolExecutor(self.WORKERS, thread_name_prefix="explain")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def explain(self, session: str, segment: str | None = None) -> Explanation:
        """Where it goes, and why. Raises `InvalidValue` for what is no session, or an unknown segment.

        Parts that can't be reached are named in the answer.
        """
        asked, segments = Directed.parse(session), self._chosen(segment)
        answers = [self._pool.submit(copy_context().run, self._segment, asked, name) for name in segments]
        told = scenes.concerned([answer.result() for answer in answers], self._services())
        return Explanation(key=asked.key.text, summary=summary(asked.key, told), segments=told)

    def _services(self) -> list[list[str]]:
        return [service.segments for service in self._network.config.services.values()]

    def _chosen(self, segment: str | None) -> list[str]:
        """The segments to ask, those of a service in its order."""
        known = self._network.segments
        if segment is not None:
            if segment not in known:
                raise InvalidValue(f"unknown segment {segment!r}: this network has {', '.join(known)}")
            return [segment]
        return list(dict.fromkeys([name for row in self._services() for name in row] + list(known)))

    def _segment(self, asked: Directed, name: str) -> SegmentExplanation:
        scene, faults = self._scene(name)
        beside = scene.inserted is False
        heard = Heard(faults=tuple(faults)) if beside else self._heard(asked, scene, faults)
        told = scenes.told(scene, heard, Reasons(asked.key, scene, heard).all())
        hops = self._hops(told, faults)
        faults = list(dict.fromkeys(faults))
        if hops is None:
            return told.model_copy(update={"faults": faults})
        return told.model_copy(update={"forward": hops.forward, "reverse": hops.reverse})

    def _scene(self, name: str) -> tuple[Scene, list[str]]:
        config, faults = self._network.config, list[str]()
        chains = self._ledger.snapshot().of(name)
        inserted: bool | None = config.segments[name].inserted
        if not inserted:
            views = _answer("controller", self._peers.controller.segments, faults)
            inserted = None if views is None else any(view.name == name and view.inserted for view in views)
        return Scene(name, config.segments[name], chains, config.nfs, inserted), faults

    def _heard(self, asked: Directed, scene: Scene, faults: list[str]) -> Heard:
        key = asked.key.text
        master, slave = (self._peers.balancers[lb] for lb in (scene.config.master, scene.config.slave))
        at_master = _answer(scene.config.master, lambda: master.session(key), faults)
        at_slave = _answer(scene.config.slave, lambda: slave.session(key), faults)
        forecast = None
        if at_master is None or at_master.ended is not None:
            forecast = _answer(scene.config.master, lambda: master.forecast(asked.text), faults)
        heard = Heard(at_master, at_slave, forecast, tuple(dict.fromkeys(faults)))
        entry = scenes.known(scene, heard)
        return heard if entry is None else replace(heard, journal=self._journal(entry))

    def _journal(self, entry: SessionEntry) -> Sequence[JournalEntry]:
        """What the journal has near the moments that matter: when it got its chain, and when it ended."""
        moments = [entry.origin.placed]
        if entry.state == "reset" or (entry.ended is not None and entry.ended.why == "reset"):
            moments.append(entry.seen)
        found = {entry.seq: entry for moment in moments for entry in self._history.near(moment)}
        return [found[seq] for seq in sorted(found)]

    def _hops(self, told: SegmentExplanation, faults: list[str]) -> ChainHops | None:
        """The rules that carry it now; none of a chain that is gone."""
        if told.chain is None or told.chain_state not in _STEERED:
            return None
        chain = told.chain
        return _answer("controller", lambda: self._peers.controller.hops(chain), faults)


def _answer(part: str, call: Callable[[], T], faults: list[str]) -> T | None:
    """What a part says, None if it does not know; what can't be asked is one of the `faults`."""
    try:
        return call()
    except NotFound:
        return None
    except CatenaryError as error:
        faults.append(f"{part}: {error.detail}")
        return None
