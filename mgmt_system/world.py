"""What the engine knows of the other parts: their last words, and which of them can't be reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from catenary import wire
from catenary.chain import Chain, Condition, PairState
from catenary.classifier import Rule
from catenary.errors import CatenaryError, Conflict
from catenary.tags import TagPair
from mgmt_system.agreement import stranger
from mgmt_system.crash import CrashPoint
from mgmt_system.current import Current
from mgmt_system.peers import CONTROLLER, Peers
from mgmt_system.reconcile import REFUSALS, Seen, Sight
from mgmt_system.records import ChainRecord

T = TypeVar("T")
RETRY = 0.25
"""Seconds before a part that failed is called again; as long as the failed call took, if that is longer."""


class Fault(Exception):
    """A call that failed in a way that may heal; `service` is left alone for a while."""

    def __init__(self, service: str, error: CatenaryError) -> None:
        super().__init__(error.detail)
        self.service = service


class World:
    """Makes every call of the engine, with a crash point after each. Used by one thread.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        peers: Peers,
        network: Current,
        crash_point: CrashPoint,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peers = peers
        self._network = network
        self._crash_point = crash_point
        self._clock = clock
        self._steered: dict[str, wire.SteeredChain | None] = {}
        self._steered_all = False
        self._segments: dict[str, wire.SegmentView] = {}
        self._pairs: dict[str, dict[TagPair, wire.PairView]] = {}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._faults: dict[str, tuple[str, float]] = {}
        self._met: set[str] = set()
        self.told: str | None = None
        """The revision of the network that the controller has; None: it has not said."""
        self._refused: tuple[str, str] | None = None

    @property
    def untold(self) -> str | None:
        """Why the controller does not take the network in force; None: it does, or has not been asked."""
        revision, reason = self._refused or ("", None)
        return reason if revision == self._network.revision else None

    def faults(self) -> dict[str, str]:
        """Why parts can't be used at present, or not as they should be, by name."""
        untold = self.untold
        refused = {CONTROLLER: untold} if untold else {}
        return refused | {service: reason for service, (reason, _) in dict(self._faults).items()}

    def fault(self, service: str) -> str | None:
        """Why a part is left alone now; None when it may be called."""
        reason, until = self._faults.get(service, ("", 0.0))
        return reason if self._clock() < until else None

    def call(self, service: str, what: str, function: Callable[[], T]) -> T:
        """Make a call; raises an error of `REFUSALS` as it is, and any other as `Fault`."""
        began = self._clock()
        try:
            answer = function()
        except REFUSALS:
            self._faults.pop(service, None)
            raise
        except CatenaryError as error:
            now = self._clock()
            self._faults[service] = error.detail, now + max(RETRY, now - began)
            self._forget(service)
            raise Fault(service, error) from error
        finally:
            self._crash_point(f"call to {service}: {what}")
        self._faults.pop(service, None)
        return answer

    def look(self, segments: Collection[str] | None = None) -> list[wire.ChainSet]:
        """Ask the controller for its chains and all masters for their pairs.

        With `segments`, only the masters of these, and of the controller only which network it has and which
        pairs are in the way.

        Faults are kept, not raised.

        Returns what the masters said.
        """
        told = []
        masters = [
            segment.master
            for name, segment in self._network.segments.items()
            if segments is None or name in segments
        ]
        for service in [CONTROLLER, *masters]:
            if self.fault(service) is not None:
                continue
            try:
                if service == CONTROLLER:
                    self._look_at_controller(whole=segments is None)
                else:
                    self._meet(service)
                    chain_set = self.call(service, "pairs", self._peers.balancers[service].pairs)
                    told.append(self._probed(service, chain_set))
                    self.learn(service, told[-1])
            except (Fault, *REFUSALS):
                self._forget(service)
        return told

    def _meet(self, master: str) -> None:
        """Once, and after each fault: raises `Fault` where another load balancer answers than is meant."""
        if master in self._met:
            return
        name = next(name for name, segment in self._network.segments.items() if segment.master == master)
        health = self.call(master, "health", self._peers.balancers[master].health)
        if reason := stranger(master, "master", name, health):
            self._faults[master] = reason, self._clock() + RETRY
            raise Fault(master, Conflict(reason))
        self._met.add(master)

    def _probed(self, master: str, chain_set: wire.ChainSet) -> wire.ChainSet:
        """Tell a master how to probe if it does otherwise, or not; its chain set as it is then.

        One that refuses, in an overflow, is told again at the next look.
        """
        found = next(segment for segment in self._network.segments.values() if segment.master == master)
        wanted = None if found.health is None else wire.HealthCheckModel.of(found.health.check())
        forgotten = wanted is None and any(pair.condition is not Condition.UP for pair in chain_set.pairs)
        if chain_set.health == wanted and not forgotten:  # it adopts conditions, and no check
            return chain_set
        order = wire.HealthOrder(health=wanted)
        put = self._peers.balancers[master].put_health
        try:
            return self.call(master, "put health check", lambda: put(order))
        except REFUSALS:
            return chain_set

    def _look_at_controller(self, *, whole: bool) -> None:
        self._tell_network()
        if whole or not self._steered_all:
            chains = self.call(CONTROLLER, "chains", self._peers.controller.chains)
            self._steered = {chain.name: chain for chain in chains}
            self._steered_all = True
        # Where all pairs are in the way from the beginning there is nothing to ask.
        if not all(segment.inserted for segment in self._network.segments.values()):
            segments = self.call(CONTROLLER, "segments", self._peers.controller.segments)
            self._segments = {segment.name: segment for segment in segments}

    def _tell_network(self) -> None:
        """Give the controller the network in force if it has another."""
        network, revision = self._network.network
        controller = self._peers.controller
        self.told = self.call(CONTROLLER, "network", controller.network).revision
        self._refused = None
        if self.told == revision:
            return
        try:
            view = self.call(CONTROLLER, "put network", lambda: controller.put_network(network))
        except REFUSALS as error:
            reason = f"the controller refuses the network of the configuration: {error.detail}"
            self._refused = revision, reason
        else:
            self.told = view.revision

    def _forget(self, service: str) -> None:
        if service == CONTROLLER:
            self.told = None
            self._steered, self._steered_all, self._segments = {}, False, {}
        self._pairs.pop(service, None)
        self._met.discard(service)

    def learn(self, master: str, chain_set: wire.ChainSet) -> None:
        """A master's pairs and classifier, from its own answer."""
        self._pairs[master] = {pair.pair(): pair for pair in chain_set.pairs}
        self._rules[master] = tuple(item.rule() for item in chain_set.classifier)

    def learn_state(self, master: str, pair: TagPair, state: PairState | None) -> None:
        """One pair's state from a poll; None: the master does not know it."""
        known = self._pairs.get(master)
        if known is None or pair not in known:
            return
        if state is None:
            del known[pair]
        else:
            known[pair] = known[pair].model_copy(update={"state": state})

    def learn_steered(self, name: str, steered: wire.SteeredChain | None) -> None:
        """A chain's steering after a call that changed it; None: it is not steered.

        Its pair may have been inserted while that call waited: what was seen of the segment is forgotten.
        """
        self._steered[name] = steered
        if steered is not None:
            self._segments.pop(steered.segment, None)

    def segment(self, name: str) -> wire.SegmentView | None:
        """Whether a segment's pair is in the way; None while the controller has not said."""
        if self._network.segments[name].inserted:
            return wire.SegmentView(name=name, inserted=True)
        return self._segments.get(name)

    def seen(self, record: ChainRecord) -> Seen:
        """What is known of a chain."""
        config, chain = self._network.segments[record.segment], record.chain
        steered, waiting_for = self._steering(chain)
        plain: bool | None = False
        if not config.inserted:
            view = self._segments.get(record.segment)
            plain = None if view is None else not view.inserted
        pairs = self._pairs.get(config.master)
        if pairs is None:
            return Seen(steered, waiting_for=waiting_for, plain=plain)
        classified = None
        if chain.bypass:
            classified = self._rules[config.master] == self._network.config.rules(record.segment)
        pair = pairs.get(chain.tags)
        state, weight = (pair.state, pair.weight) if pair else (Sight.ABSENT, None)
        if chain.bypass:
            weight = None  # its master's: it has one while all chains are down
        return Seen(steered, state, waiting_for, plain, weight, classified)

    def _steering(self, chain: Chain) -> tuple[bool | None, tuple[str, ...]]:
        """Whether it is steered, and the switches that the controller waits for."""
        if chain.name not in self._steered and not self._steered_all:
            return None, ()
        found = self._steered.get(chain.name)
        if found is None or (found.tags.pair(), tuple(found.nfs)) != (chain.tags, chain.nfs):
            return False, ()
        return True, tuple(found.waiting_for)
