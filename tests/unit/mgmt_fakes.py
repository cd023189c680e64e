"""A controller and a pair of load balancers in memory, with the promises of the real ones and no packets.

MS --> FakeController           refuses NFs without a path, forgets all when it restarts
   --> FakeMaster --> FakeSlave  pairs live active -> cooling -> closed -> drained as sessions end
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catenary import pcap, wire
from catenary.chain import ChainState, PairState
from catenary.config import NetworkConfig, ServiceConfig
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from catenary.explanations import Candidate, ChainHops, HopView, SessionForecast
from catenary.session import SessionKey
from catenary.tags import TagPair
from catenary.wire import ChainLives, Leaving, LifeCell, LifeTable, SessionEntry, SessionOrigin
from mgmt_system.applying import Applying
from mgmt_system.crash import CrashPoint, never
from mgmt_system.current import Current
from mgmt_system.engine import Engine
from mgmt_system.journal import Retention
from mgmt_system.manager import Manager
from mgmt_system.peers import Peers
from mgmt_system.records import ChainRecord
from mgmt_system.service import Running
from mgmt_system.sessions import Sessions
from mgmt_system.status import StatusPage
from mgmt_system.store import KeyValueStore
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore
from mgmt_system.world import World

NETWORK = """
switches: {s1: 1, s2: 2, s3: 3, s4: 4, s5: 5}
nfs:
  n1: {switch: s3, ingress: a, egress: b}
  n2: {switch: s4, ingress: a, egress: b}
  n3: {switch: s5, ingress: a, egress: b}
  shared: {switch: s3, ingress: c, egress: c, tags: kept}
  lonely: {switch: s5, ingress: x, egress: y}
balancers:
  l1: {switch: s1, outer: o, inner: i, url: "%(l1)s"}
  l2: {switch: s2, outer: o, inner: i, url: "%(l2)s"}
segments:
  main: {master: l1, slave: l2, timeouts: {transit: %(transit)s}}
controller_url: "%(controller)s"
"""


def network_text(
    controller: str = "http://127.0.0.1:1",
    l1: str = "http://127.0.0.1:2",
    l2: str = "http://127.0.0.1:3",
    transit: float = 0.05,
) -> str:
    return NETWORK % {"controller": controller, "l1": l1, "l2": l2, "transit": transit}


@dataclass
class Fake:
    """`fault` is called before and after each call takes effect: `fault("steer", True)` is the one after."""

    name: str
    down: bool = False
    fault: Callable[[str, bool], None] = lambda call, after: None
    calls: list[str] = field(default_factory=list)

    def enter(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise Unavailable(f"{self.name} can't be reached: connection refused")
        self.fault(call, False)

    def leave(self, call: str) -> None:
        self.fault(call, True)


@dataclass
class FakeController(Fake):
    steered: dict[str, wire.SteeredChain] = field(default_factory=dict)
    known: str = ""
    """The revision of the network that it has."""
    inserted: dict[str, float | None] = field(default_factory=dict)
    """Segments whose pair was not in the way at first: seconds since it was inserted, None if it is not."""

    def health(self) -> wire.ControllerHealth:
        self.enter("health")
        return wire.ControllerHealth(status="ok", switches_connected=5, switches_expected=5)

    def chains(self) -> list[wire.SteeredChain]:
        self.enter("chains")
        return list(self.steered.values())

    def check(self, name: str, request: wire.SteerRequest) -> None:
        self.enter("check")
        self._check(name, request)

    def _check(self, name: str, request: wire.SteerRequest) -> None:
        if self.inserted.get(request.segment, 0.0) is None and self.steered.keys() - {name}:
            raise Conflict(f"the pair of segment {request.segment!r} is not in the way of its traffic")
        for other in self.steered.values():
            if other.name != name and {*other.tags.pair().ids} & {*request.tags.pair().ids}:
                raise Conflict(f"tag pair {request.tags.pair()} is in use by chain {other.name!r}")
        if "lonely" in request.nfs:
            raise Conflict(f"chain {name!r} has no path: NF 'lonely' can't be reached from l1")

    def steer(self, name: str, request: wire.SteerRequest) -> wire.SteeredChain:
        self.enter("steer")
        self._check(name, request)
        self.steered[name] = wire.SteeredChain(
            **request.model_dump(),
            name=name,
            cookie=1,
            path=["l1", *request.nfs, "l2"],
            rules=8,
            installed=True,
        )
        self.leave("steer")
        return self.steered[name]

    def check_all(self, requests: Mapping[str, wire.SteerRequest]) -> None:
        for name, request in requests.items():
            self.check(name, request)

    def steer_all(self, requests: Mapping[str, wire.SteerRequest]) -> list[wire.SteeredChain]:
        for name, request in requests.items():
            self._check(name, request)
        return [self.steer(name, request) for name, request in requests.items()]

    def unsteer(self, name: str) -> None:
        self.enter("unsteer")
        if name not in self.steered:
            raise NotFound(f"unknown chain {name!r}")
        del self.steered[name]
        self.leave("unsteer")

    def segments(self) -> list[wire.SegmentView]:
        self.enter("segments")
        return [
            wire.SegmentView(name=name, inserted=ago is not None, ago=ago)
            for name, ago in self.inserted.items()
        ]

    def insert(self, segment: str) -> wire.SegmentView:
        self.enter("insert")
        self.inserted[segment] = 0.0
        self.leave("insert")
        return self.segments()[0]

    def hops(self, name: str) -> ChainHops:
        self.enter("hops")
        if name not in self.steered:
            raise NotFound(f"chain {name!r} is not steered")
        chain = self.steered[name]
        nf, ends = chain.nfs[0], {"switch": "s1", "table": 1, "priority": 10, "cookie": 1, "installed": True}
        ways = (("l1.inner", f"{nf}.ingress"), (f"{nf}.egress", "l2.inner"))
        hops = [
            HopView(**ends, match={}, actions=[], packets=1, bytes=60, source=source, target=target)
            for source, target in ways
        ]
        back = [hop.model_copy(update={"source": hop.target, "target": hop.source}) for hop in hops[::-1]]
        return ChainHops(name=name, segment=chain.segment, forward=hops, reverse=back)

    def network(self) -> wire.NetworkView:
        self.enter("network")
        return wire.NetworkView(revision=self.known)

    def put_network(self, network: NetworkConfig, *, check: bool = False) -> wire.NetworkView:
        self.enter("check network" if check else "put network")
        for name, chain in self.steered.items():
            for nf in chain.nfs:
                if nf not in network.nfs:
                    raise Conflict(f"NF {nf!r} is used by chain {name!r}")
        if not check:
            self.known = network.revision
        self.leave("check network" if check else "put network")
        return wire.NetworkView(revision=self.known)

    def restart_empty(self) -> None:
        self.steered.clear()


@dataclass
class FakeBalancer(Fake):
    role: wire.Role = "slave"
    timeouts: wire.TimeoutsModel = field(default_factory=wire.TimeoutsModel)
    ask_id: int = 4094
    rewrites: bool = False
    states: dict[TagPair, PairState] = field(default_factory=dict)
    weights: dict[TagPair, int] = field(default_factory=dict)
    sessions: dict[TagPair, int] = field(default_factory=dict)
    bypasses: set[TagPair] = field(default_factory=set)
    classifier: list[wire.TrafficRule] = field(default_factory=list)
    epoch: int = 0

    def health(self) -> wire.BalancerHealth:
        self.enter("health")
        return wire.BalancerHealth(
            status="ok",
            role=self.role,
            segment="main",
            data_plane="ebpf",
            epoch=self.epoch,
            instance=self.name,
            ask_id=self.ask_id,
            timeouts=self.timeouts,
            rewrites=self.rewrites,
            peer=wire.PeerHealth(url=None, connected=True),
        )

    def pairs(self) -> wire.ChainSet:
        self.enter("pairs")
        return self.chain_set()

    def chain_set(self) -> wire.ChainSet:
        pairs = [
            wire.PairView(
                forward=pair.forward,
                reverse=pair.reverse,
                weight=self.weights[pair],
                slot=slot,
                generation=1,
                state=state,
                bypass=pair in self.bypasses,
            )
            for slot, (pair, state) in enumerate(self.states.items())
        ]
        return wire.ChainSet(
            segment="main",
            epoch=self.epoch,
            designated=0 if self.states else None,
            pairs=pairs,
            classifier=self.classifier,
        )

    def activity(self, pair: TagPair) -> wire.PairActivity:
        self.enter("activity")
        if pair not in self.states:
            raise NotFound(f"unknown tag pair {pair}")
        sessions = self.sessions.get(pair, 0)
        state = self._age(pair, sessions)
        active = state is not PairState.DRAINED
        return wire.PairActivity(
            forward=pair.forward, reverse=pair.reverse, state=state, active=active, sessions=sessions
        )

    def _age(self, pair: TagPair, sessions: int) -> PairState:
        """Each poll moves a pair without sessions one state on: time passes between polls."""
        following = {PairState.COOLING: PairState.CLOSED, PairState.CLOSED: PairState.DRAINED}
        if sessions == 0:
            self.states[pair] = following.get(self.states[pair], self.states[pair])
        return self.states[pair]

    def stats(self) -> wire.BalancerStats:
        self.enter("stats")
        pairs = [
            wire.PairStats(
                forward=pair.forward,
                reverse=pair.reverse,
                slot=slot,
                bypass=pair in self.bypasses,
                state=state,
                sessions=self.sessions.get(pair, 0),
                new_sessions=self.sessions.get(pair, 0),
                forward_packets=1,
                forward_bytes=100,
                reverse_packets=1,
                reverse_bytes=900,
            )
            for slot, (pair, state) in enumerate(self.states.items())
        ]
        return wire.BalancerStats(
            health=self.health(),
            role=self.role,
            segment="main",
            epoch=self.epoch,
            pins=0,
            capacity=1000,
            overflow=False,
            pairs=pairs,
            counters={"passed": 7},
            entered=[3 + rule.entry for rule in self.classifier],
        )

    def change(self, change: wire.Change) -> wire.ChainSet:
        raise InvalidValue(f"load balancer {self.name} is a slave: send changes to its master")

    def rebalance(self, request: wire.Rebalance) -> wire.Rebalanced:
        raise InvalidValue(f"load balancer {self.name} is a slave: send changes to its master")

    def end_sessions(self, pair: TagPair, request: wire.Ending) -> wire.PairEnded:
        raise InvalidValue(f"load balancer {self.name} is a slave: send changes to its master")

    def session(self, key: str) -> SessionEntry:
        raise NotFound(f"session {key} is not known here")

    async def capture(
        self, pair: TagPair, *, key: str | None, seconds: float, packets: int
    ) -> AsyncIterator[bytes]:
        self.enter("capture")
        if pair not in self.states:
            raise NotFound(f"unknown tag pair {pair}")
        yield pcap.HEADER
        yield pcap.record(0, f"{self.name} {pair} {key} {seconds:g} {packets}".encode(), 0)

    def forecast(self, key: str) -> SessionForecast:
        self.enter("forecast")
        self.asked = key
        taker = next((pair for pair, state in self.states.items() if state is PairState.ACTIVE), None)
        tags = wire.Tags.of(taker) if taker else None
        rows = [Candidate(**tags.model_dump(), live=0, weight=100)] if tags else []
        reason = None if tags else "no chain is active"
        return SessionForecast(
            key=SessionKey.parse(key).text,
            epoch=self.epoch,
            policy="p2c",
            overflow=False,
            candidates=rows,
            tags=tags,
            reason=reason,
        )

    def list_sessions(self, **wanted: Any) -> list[SessionEntry]:
        return []

    def lives(self) -> LifeTable:
        raise NotFound("a slave has no life table")

    def end_session(self, request: wire.SessionOrder) -> wire.SessionView:
        raise InvalidValue(f"load balancer {self.name} is a slave: send changes to its master")

    def restart_empty(self) -> None:
        for table in (self.states, self.weights, self.sessions):
            table.clear()
        self.bypasses.clear()
        self.classifier = []


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


class Site:
    """Fakes, a store, and a management system on them that can crash and restart."""

    def __init__(self, path: Path | None = None, network: str = "") -> None:
        self.config = ServiceConfig.load(network or network_text())
        timeouts = self.config.segments["main"].timeouts
        self.slave = FakeBalancer("l2", timeouts=timeouts)
        self.master = FakeMaster("l1", timeouts=timeouts, slave=self.slave)
        self.controller = FakeController("controller", known=self.config.network.revision)
        self.peers = Peers(self.controller, {"l1": self.master, "l2": self.slave})
        self.path = path or Path(":memory:")
        self.store: KeyValueStore = SqliteStore(path)
        self.now = 1000.0
        self._running: Running | None = None
        self.restart()

    def restart(self, crash_point: CrashPoint = never, retention: Retention | None = None) -> None:
        """A new process on the same store."""
        self.ledger = Ledger(self.store, crash_point, self.clock, retention)
        self.network = Current(self.ledger.configured(self.config))
        world = World(self.peers, self.network, crash_point, self.clock)
        self.engine = Engine(self.ledger, self.peers, world, self.network, self.clock, self.clock)
        self.manager = Manager(
            self.ledger, self.engine, self.peers, self.network, crash_point, clock=self.clock
        )
        self.status = StatusPage(self.peers, self.network)
        self.applying = Applying(
            self.ledger, self.engine, self.manager, self.status, self.peers, self.network, crash_point
        )
        self.sessions = Sessions(self.peers, self.network, self.ledger, self.clock)

    def clock(self) -> float:
        return self.now

    def running(self) -> Running:
        """With the engine's real thread and the real clock, for the REST service; always the same one."""
        if self._running is None:
            self.ledger = Ledger(self.store, never)
            self._running = Running.build(self.config, self.ledger, lambda network, timeout: self.peers)
            self.engine, self.manager = self._running.engine, self._running.manager
        return self._running

    def settle(self, passes: int = 30) -> None:
        """Let time pass until nothing is on its way; fails if that takes more than `passes` passes."""
        for _ in range(passes):
            self.now += 1.0
            if not self.engine.settle():
                return
        raise AssertionError(f"not settled after {passes} passes: {self.states()}, {self.manager.chains()}")

    def step(self) -> None:
        self.now += 1.0
        self.engine.settle()

    def add(self, *nfs: str, **options: object) -> wire.OperationView:
        return self.manager.add(wire.ChainRequest(nfs=list(nfs), **options))

    def records(self) -> list[ChainRecord]:
        """All chains that are not removed."""
        chains = self.ledger.snapshot().chains
        return [record for record in chains if record.state is not ChainState.REMOVED]

    def master_pair(self, name: str) -> TagPair:
        """The tags of a chain, as the controller steers them."""
        return self.controller.steered[name].tags.pair()

    def states(self) -> dict[str, str]:
        return {stored.record.name: stored.record.state.value for stored in self.ledger.chains()}

    def close(self) -> None:
        self.store.close()
