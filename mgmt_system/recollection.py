"""The chains that a damaged store lost, as the other parts have them: to be shown, and for nothing else.

It stands in for the reconcile loop, which would act on records that may be old, or not all there were. So no
other part is told anything: it is only asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from catenary import wire
from catenary.chain import WEIGHT_DEFAULT, Chain, ChainState, PairState
from catenary.errors import CatenaryError
from catenary.tags import TagPair
from mgmt_system.current import Current
from mgmt_system.peers import Peers
from mgmt_system.records import ChainRecord, Goal
from mgmt_system.store.ledger import Ledger

EVERY = 1.0
"""Seconds between looks."""
_STATES = {
    PairState.ACTIVE: ChainState.ACTIVE,
    PairState.COOLING: ChainState.COOLING,
    PairState.CLOSED: ChainState.COOLING,
    PairState.DRAINED: ChainState.DRAINED,
}
Pairs = Mapping[TagPair, wire.PairView]


def recollect(
    read: Sequence[ChainRecord],
    steered: Collection[wire.SteeredChain],
    pairs: Mapping[str, Pairs],
    since: float,
) -> list[ChainRecord]:
    """What is steered and not among the chains that were `read`. `pairs` are those of each segment's master;
    nobody but the store knew how old a chain is: `since` is said."""
    known = {record.name for record in read if record.live}
    found = []
    for chain in steered:
        pair = pairs.get(chain.segment, {}).get(chain.tags.pair())
        if chain.name in known or chain.segment not in pairs:
            continue
        state = _STATES[pair.state] if pair else ChainState.STEERED
        leaves = state in (ChainState.COOLING, ChainState.DRAINED)
        found.append(
            ChainRecord(
                id=f"seen-{chain.name}",
                chain=Chain(
                    chain.name, tuple(chain.nfs), chain.tags.pair(), pair.weight if pair else WEIGHT_DEFAULT
                ),
                segment=chain.segment,
                state=state,
                goal=Goal.ABSENT if leaves else Goal.PRESENT,
                created=since,
                changed=since,
            )
        )
    return found


class Recollection:
    """`look` asks once; `run` goes on until `stop`. `clock` gives seconds since the epoch."""

    def __init__(
        self, ledger: Ledger, peers: Peers, network: Current, clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger = ledger
        self._peers = peers
        self._network = network
        self._since = clock()
        self._steered: Sequence[wire.SteeredChain] = []
        self._pairs: dict[str, Pairs] = {name: {} for name in network.segments}
        self._stop = threading.Event()
        self._show()

    def run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(EVERY)

    def stop(self) -> None:
        self._stop.set()

    def look(self) -> None:
        """A part that can't be reached has what it said last."""
        with suppress(CatenaryError):
            self._steered = self._peers.controller.chains()
        for name, segment in self._network.segments.items():
            with suppress(CatenaryError):
                told = self._peers.balancers[segment.master].pairs()
                self._pairs[name] = {pair.pair(): pair for pair in told.pairs}
        self._show()

    def _show(self) -> None:
        self._ledger.recall(
            self._pairs, lambda read: recollect(read.chains, self._steered, self._pairs, self._since)
        )
