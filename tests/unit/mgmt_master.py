"""A master in memory: its pairs live active -> cooling -> closed -> drained as sessions end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict, NotFound, Unavailable
from catenary.session import SessionKey
from catenary.tags import TagPair
from catenary.wire import ChainLives, Leaving, LifeCell, LifeTable, SessionEntry, SessionOrigin
from tests.unit.mgmt_parts import FakeBalancer

_ALLOWED = {
    "remove": (PairState.ACTIVE,),
    "cancel": (PairState.ACTIVE, PairState.COOLING),
    "forget": (PairState.DRAINED,),
}


@dataclass
class FakeMaster(FakeBalancer):
    role: wire.Role = "master"
    slave: FakeBalancer = field(default_factory=lambda: FakeBalancer("l2"))
    ended: dict[TagPair, dict[str, int]] = field(default_factory=dict)
    keys: dict[str, TagPair | None] = field(default_factory=dict)
    idle: int = 0

    def put_health(self, order: wire.HealthOrder) -> wire.ChainSet:
        self.enter("put_health")
        self.check = order.health
        self.fallen &= order.health is not None
        self.epoch += 1
        return self.chain_set()

    def change(self, change: wire.Change) -> wire.ChainSet:
        self.enter("change")
        self._check(change)
        for pair in change.add:
            self.states[pair.pair()] = PairState.ACTIVE
            self.weights[pair.pair()] = pair.weight
            if pair.bypass:
                self.bypasses.add(pair.pair())
        for tags in change.remove:
            self.states[tags.pair()] = PairState.COOLING
        for tags in change.cancel:
            self.states[tags.pair()] = PairState.ACTIVE
        for tags in change.forget:
            for table in (self.states, self.weights, self.sessions):
                table.pop(tags.pair(), None)
            self.bypasses.discard(tags.pair())
        if change.classifier is not None:
            self.classifier = change.classifier
        ways = [pair for pair in self.bypasses if self.states[pair] is PairState.ACTIVE]
        assert len(ways) == 1 or not self.classifier, "what passes by has one way"
        self._tell_slave()
        self.leave("change")
        return self.chain_set()

    def _check(self, change: wire.Change) -> None:
        if self.slave.down:
            raise Unavailable(f"load balancer {self.slave.name} can't be reached by its master")
        for pair in change.add:
            for other, state in self.states.items():
                same = other == pair.pair() and state is PairState.ACTIVE
                if not same and set(other.ids) & set(pair.pair().ids):
                    raise Conflict(f"VLAN ID of tag pair {pair.pair()} is in use by {other}")
        for verb, allowed in _ALLOWED.items():
            for tags in getattr(change, verb):
                state = self.states.get(tags.pair())
                if state is None:
                    raise NotFound(f"unknown tag pair {tags.pair()}")
                if state not in allowed:
                    raise Conflict(f"tag pair {tags.pair()} is {state}: {verb} is refused")

    def stats(self) -> wire.BalancerStats:
        """With its slave's, if that gives them."""
        stats = super().stats()
        try:
            return stats.model_copy(update={"peer": self.slave.stats()})
        except Unavailable:
            return stats

    def _tell_slave(self) -> None:
        self.epoch += 1
        self.slave.epoch = self.epoch
        self.slave.states = dict(self.states)
        self.slave.weights = dict(self.weights)

    def rebalance(self, request: wire.Rebalance) -> wire.Rebalanced:
        self.enter("rebalance")
        for pair in request.weights:
            self.weights[pair.pair()] = pair.weight
        self.epoch += 1
        self.leave("rebalance")
        moved = 0 if request.move_idle is None else self.idle
        return wire.Rebalanced(**self.chain_set().model_dump(), moved=moved)

    def end_sessions(self, pair: TagPair, request: wire.Ending) -> wire.PairEnded:
        self.enter("end_sessions")
        if pair not in self.states:
            raise NotFound(f"unknown tag pair {pair}")
        if self.states[pair] is PairState.ACTIVE:
            raise Conflict(f"tag pair {pair} is active: remove it first")
        if self.states[pair] is PairState.COOLING:
            self.states[pair] = PairState.CLOSED
            self._tell_slave()
        counted = self.ended.setdefault(pair, {"reset": 0, "moved": 0})
        counted["reset" if request.then == "reset" else "moved"] += self.sessions.pop(pair, 0)
        self.slave.sessions.pop(pair, None)
        self.leave("end_sessions")
        return wire.PairEnded(
            forward=pair.forward,
            reverse=pair.reverse,
            state=self.states[pair],
            active=True,
            sessions=0,
            **counted,
        )

    def session(self, key: str) -> SessionEntry:
        self.enter("session")
        if key not in self.keys:
            raise NotFound(f"session {key} is not known here")
        return entry_of(key, self.keys[key])

    def list_sessions(self, **wanted: Any) -> list[SessionEntry]:
        """By the hashes of their keys, for all were placed at one moment; it heeds tags, limit and after."""
        self.enter("list_sessions")
        after = wanted["after"] and wanted["after"].split("_")[1]
        keys = {f"{SessionKey.parse(key).hash64():016x}": key for key in self.keys}
        found = [keys[place] for place in sorted(keys) if after is None or place > after]
        entries = [entry_of(key, self.keys[key]) for key in found]
        mine = [entry for entry in entries if wanted["tags"] in (None, entry.tags and entry.tags.pair().path)]
        return mine[: wanted["limit"]]

    def lives(self) -> LifeTable:
        """Those of `sessions` are 60 s old, and nobody has left yet."""
        self.enter("lives")
        pairs = [
            ChainLives(
                forward=pair.forward,
                reverse=pair.reverse,
                sessions=count,
                cells=[LifeCell(state="established", age=1, idle=0, sessions=count)] if count else [],
            )
            for pair, count in self.sessions.items()
        ]
        ages = [0.0, *(30.0 * 2**octave for octave in range(12))]
        none = [0] * (len(ages) - 1)
        nobody = Leaving(risk=[0.0] * len(none), closed=none, expired=none)
        return LifeTable(period=60, ages=ages, idles=[0, 10], tcp=nobody, rest=nobody, pairs=pairs)

    def end_session(self, request: wire.SessionOrder) -> wire.SessionView:
        self.enter("end_session")
        active = [pair for pair, state in self.states.items() if state is PairState.ACTIVE]
        others = [pair for pair in active if self.weights.get(pair) and pair != self.keys[request.key]]
        if request.mode == "move" and not others:
            raise Conflict("no other chain takes sessions: add one first")
        self.keys[request.key] = others[0] if request.mode == "move" else None
        entry = entry_of(request.key, self.keys[request.key])
        return wire.SessionView(key=entry.key, state=entry.state, tags=entry.tags)

    def restart_empty(self) -> None:
        super().restart_empty()
        self.ended.clear()
        self.slave.restart_empty()


def second_pair() -> dict[str, FakeBalancer]:
    """The load balancers of segment `second`, l3 and l4."""
    slave = FakeBalancer("l4", segment="second")
    return {"l3": FakeMaster("l3", segment="second", slave=slave), "l4": slave}


def entry_of(key: str, pair: TagPair | None) -> SessionEntry:
    """A session that was placed at second 900, a minute ago."""
    return SessionEntry(
        key=key,
        state="established" if pair else "reset",
        tags=wire.Tags.of(pair) if pair else None,
        age=60.0,
        idle=1.5,
        seen=958.5,
        packets=10,
        bytes=6000,
        rate=100.0,
        origin=SessionOrigin(placed=900.0, epoch=3, cause="placed", policy="p2c", load=4),
    )
