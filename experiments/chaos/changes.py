"""What happens to the simulator's chains and daemons: adds, removes, weights, restarts."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Literal

from catenary import wire
from catenary.chain import PairState
from catenary.errors import CatenaryError, Unavailable
from catenary.session import SessionKey
from catenary.tags import TagPair
from experiments.chaos.world import Task, World

POOL = tuple(TagPair(vid, vid + 1) for vid in range(2, 14, 2))
RETRY = 30


class ChainChanges:
    """The management system in short (affinity rule 4): steer, add; remove, forget once drained, unsteer."""

    def __init__(self, world: World, *, forced: bool = False, hasty: bool = False) -> None:
        self._world = world
        self._forced = forced
        self._hasty = hasty
        self._rest = round(2000 * world.options.timeouts.transit)
        self._rests: dict[TagPair, int] = {}
        self._rng = world.rng

    def begin(self) -> Task:
        """The first two chains, without which no session can be had."""
        for tags in POOL[:2]:
            yield from self._add(tags)

    def run(self) -> Task:
        world, rng = self._world, self._rng
        while True:
            yield max(1, round(rng.expovariate(1 / world.options.change_every)))
            active = self._in(PairState.ACTIVE)
            orders = not world.options.rewrites
            verbs = ["weigh", "level", *(("idle", "reset", "move") if orders else ())]
            if len(active) > 1:
                verbs += ["remove"] * 3
            used = {path.tags for path in world.paths.values()}
            free = [tags for tags in POOL if tags not in used and self._rests.get(tags, 0) <= world.now]
            if free and len(active) < world.options.most_chains:
                verbs += ["add"] * 3
            cooling = self._in(PairState.COOLING)
            if cooling:
                verbs += ["cancel", "deadline"] if orders else ["cancel"]
            verb = rng.choice(verbs)
            if verb == "cancel":
                yield from self._change(wire.Change(cancel=[_tags(rng.choice(cooling))]))
            elif verb == "deadline":
                yield from self._end(rng.choice(cooling))
            elif verb == "reset":
                yield from self._end_some("reset")
            elif verb == "move":
                yield from self._end_some("move")
            elif verb == "add":
                yield from self._add(rng.choice(free))
            elif verb == "remove":
                tags = rng.choice(active)
                if (yield from self._change(wire.Change(remove=[_tags(tags)]))) and self._hasty:
                    world.unsteer(tags)
            else:
                self._weigh(active if verb == "weigh" else [], idle=0.0 if verb == "idle" else None)

    def reap(self) -> Task:
        """Forget what is drained, then take its switch rules away."""
        while True:
            yield RETRY
            for tags in self._in(PairState.DRAINED):
                if (yield from self._change(wire.Change(forget=[_tags(tags)]))):
                    self._world.unsteer(tags)
                    self._rests[tags] = self._world.now + self._rest

    def _in(self, state: PairState) -> list[TagPair]:
        return [pair.pair() for pair in self._world.master.pairs().pairs if pair.state is state]

    def _add(self, tags: TagPair) -> Task:
        self._world.steer(tags)
        done = yield from self._change(
            wire.Change(add=[wire.PairAdd(forward=tags.forward, reverse=tags.reverse)]), patience=200
        )
        if not done:
            self._world.unsteer(tags)

    def _change(self, change: wire.Change, patience: int = 20) -> Generator[int, None, bool]:
        """Ask until the master took it; not at all if it is refused for good (overflow, or taken before)."""
        change = change.model_copy(update={"force": self._forced})
        for _ in range(patience):
            try:
                self._world.master.change(change)
            except Unavailable:
                yield RETRY
            except CatenaryError:
                return False
            else:
                self._world.outcome.changes += 1
                return True
        return False

    def _end(self, tags: TagPair) -> Task:
        """A removal's deadline has come: go on until nothing of the pair is left."""
        then: Literal["reset", "rebalance"] = self._rng.choice(("reset", "rebalance"))
        for _ in range(20):
            try:
                if not self._world.master.end_sessions(tags, then).sessions:
                    return
            except Unavailable:
                yield RETRY
            except CatenaryError:
                return

    def _end_some(self, mode: Literal["reset", "move"]) -> Task:
        """Single sessions are reset or moved; what fails half-way is not always asked again."""
        splice = self._world.planes["master"].splice
        keys = sorted(splice.pins) if splice else []
        for raw in self._rng.sample(keys, min(len(keys), 3)):
            order = wire.SessionOrder(key=SessionKey.unpack(raw).text, mode=mode)
            with suppress(CatenaryError):
                self._world.master.end_session(order)
            yield self._rng.choice((0, 0, RETRY))

    def _weigh(self, pairs: list[TagPair], idle: float | None) -> None:
        drawn = [self._rng.choice((0, 1, 50, 100, 300)) for _ in pairs]
        if drawn and not any(drawn):
            drawn[:1] = [100]
        weights = [
            wire.PairWeight(forward=tags.forward, reverse=tags.reverse, weight=weight)
            for tags, weight in zip(pairs, drawn, strict=True)
        ]
        try:
            request = wire.Rebalance(weights=weights, force=self._forced, move_idle=idle)
            self._world.master.rebalance(request)
            self._world.outcome.changes += 1
        except CatenaryError:
            return


def _ids(tags: TagPair) -> dict[str, int]:
    return {"forward": tags.forward, "reverse": tags.reverse}


def _tags(tags: TagPair) -> wire.Tags:
    return wire.Tags(**_ids(tags))


def faults(world: World) -> Task:
    """Daemons are killed and come back, over the data plane that went on; some lose their tables, too."""
    while True:
        yield max(1, round(world.rng.expovariate(1 / world.options.fault_every)))
        world.rng.choice((world.restart_master, world.restart_slave, *world.losses))()
        world.outcome.faults += 1
