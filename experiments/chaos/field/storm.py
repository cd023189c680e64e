"""A storm of changes: chains come, go and come back, several at once, ten a second and more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from catenary import wire
from catenary.chain import PairState
from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from catenary.part_clients import BalancerClient
from catenary.tags import TagPair
from experiments.chaos.field.churn import LAST_TAG
from experiments.chaos.field.scene import Scene
from topologies.services import wait_until
from topologies.testbed import FIG4
from witness.watch import Looking

SPARE = {"n4": "s3", "n5": "s4", "n6": "s5", "n7": "s3"}
"""Network functions whose chains are there in storms only, and their switches."""
BLUEPRINT = replace(FIG4, nfs={**FIG4.nfs, **SPARE})
CORDONS = 12
RETURNS = 2
"""How often each spare chain that was removed is taken back."""
CHANGES = (2 + 2 * RETURNS) * len(SPARE) + 2 * CORDONS
_COME_S, _CORDON_S = 0.3, 0.08
"""The beat of each chain's changes: those that come and go, and those of the one that is cordoned."""
_LOOK_S, _AGAIN_S = 0.05, 1.0
_TAGS = tuple(TagPair(vid, vid + 1) for vid in range(LAST_TAG + 1, LAST_TAG + 1 + 2 * 6 * len(SPARE), 2))


@dataclass(frozen=True)
class Change:
    """`ask` the management system for it; `done` looks whether it is in force."""

    what: str
    ask: Callable[[], object]
    done: Callable[[], bool]


class Sight(Looking):
    """The master's tag pairs, looked at all the time: what is in force is what it goes by."""

    def __init__(self, master: BalancerClient) -> None:
        super().__init__(_LOOK_S)
        self._master = master
        self._known = master.pairs()

    @property
    def epoch(self) -> int:
        return self._known.epoch

    def state(self, tags: TagPair) -> PairState | None:
        """None if the master has no such pair."""
        return next((pair.state for pair in self._known.pairs if pair.pair() == tags), None)

    def weight(self, tags: TagPair) -> int | None:
        return next((pair.weight for pair in self._known.pairs if pair.pair() == tags), None)

    def look(self) -> None:
        with suppress(CatenaryError):
            self._known = self._master.pairs()


class Storm:
    """`turn` counts storms from 0."""

    def __init__(self, scene: Scene, turn: int) -> None:
        self._scene = scene
        self._turn = turn
        self._management = scene.testbed.management

    def blow(self) -> None:
        """All of its changes, each chain's one after the other; it returns when the last is in force."""
        wait_until(self._spare, "the chains of the storm before are not gone")
        steady = self._management.chain(self._scene.churn.reserve())
        tell = self._scene.chronicle.change
        with Sight(self._scene.testbed.balancers["l1"]) as sight, ThreadPoolExecutor(1 + len(SPARE)) as pool:
            epoch, begun = sight.epoch, time.monotonic()
            running = [pool.submit(_lane, _cordons(self._management, sight, steady), _CORDON_S, tell)]
            for nf, tags in self._chains():
                running.append(pool.submit(_lane, _comings(self._management, sight, nf, tags), _COME_S, tell))
            changes = sum(lane.result() for lane in running)
            took, epochs = time.monotonic() - begun, sight.epoch - epoch
        own = self._scene.own
        own.changes, own.epochs, own.seconds = changes, epochs, took
        self._scene.chronicle.note(f"{changes} changes in {took:.2f} s, {epochs} epochs")

    def raged(self) -> bool:
        """Was each change in force, and did the master see them come one by one, or a few at once?"""
        return self._scene.own.changes == CHANGES and self._scene.own.epochs >= CHANGES // 3

    def end(self) -> None:
        """The spare chains drain while the next faults come."""
        self._scene.churn.release()

    def _spare(self) -> bool:
        return not SPARE.keys() & {nf for view in self._management.chains() for nf in view.nfs}

    def _chains(self) -> list[tuple[str, TagPair]]:
        """NF and tags of each that comes; a pair of tags rests after its chain has gone."""
        first = self._turn * len(SPARE)
        return [(nf, _TAGS[(first + number) % len(_TAGS)]) for number, nf in enumerate(SPARE)]


def _comings(management: ManagementClient, sight: Sight, nf: str, tags: TagPair) -> Sequence[Change]:
    """A chain is added and removed, and again and again taken back and removed."""
    name = f"storm-{nf}-{tags.forward}"
    request = wire.ChainRequest(name=name, nfs=[nf], tags=wire.Tags.of(tags))

    def taken() -> bool:
        return sight.state(tags) is PairState.ACTIVE

    def change(what: str, call: Callable[[], object], done: Callable[[], bool]) -> Change:
        return Change(f"chain {name} {what}", call, done)

    remove = change("removed", partial(management.remove_chain, name), lambda: not taken())
    add = change("added", partial(management.add_chain, request), taken)
    back = change("taken back", partial(management.cancel_removal, name), taken)
    return [add, remove, *[back, remove] * RETURNS]


def _cordons(management: ManagementClient, sight: Sight, view: wire.ChainView) -> Sequence[Change]:
    """A chain that stays takes no new sessions, and takes them again."""
    name, tags = view.name, view.tags.pair()

    def cordoned() -> bool:
        return sight.weight(tags) == 0

    return [
        Change(f"chain {name} cordoned", partial(management.cordon_chain, name), cordoned),
        Change(f"chain {name} uncordoned", partial(management.uncordon_chain, name), lambda: not cordoned()),
    ] * CORDONS


def _lane(changes: Sequence[Change], every: float, tell: Callable[[str], None]) -> int:
    """The changes of one chain, one begun every so many seconds, if the one before is in force; how many."""
    begun = time.monotonic()
    for number, change in enumerate(changes):
        time.sleep(max(begun + number * every - time.monotonic(), 0))
        wait_until(partial(_made, change), change.what)
        tell(change.what)
    return len(changes)


def _made(change: Change) -> bool:
    """Ask, and wait a while; an answer that got lost or a refusal is a reason to ask again."""
    with suppress(CatenaryError):
        change.ask()
    wait_until(change.done, change.what, _AGAIN_S, interval=0.01)
    return True
