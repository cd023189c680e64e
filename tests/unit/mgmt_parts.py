"""A controller and a load balancer in memory, with the promises of the real ones and no packets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from catenary import pcap, wire
from catenary.chain import Condition, PairState
from catenary.config import NetworkConfig
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from catenary.explanations import Candidate, ChainHops, HopView, SessionForecast
from catenary.session import SessionKey
from catenary.tags import TagPair
from catenary.wire import LifeTable, SessionEntry


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

    attached: list[str] = field(default_factory=list)
    """Load balancers that the network has; `unlinked` are those without a link."""
    unlinked: set[str] = field(default_factory=set)
    led_around: set[str] = field(default_factory=set)

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

    def balancers(self) -> list[wire.AttachedBalancer]:
        self.enter("balancers")
        found = []
        for name in self.attached:
            link: wire.LinkState = "down" if name in self.unlinked else "up"
            around = bool(self.led_around)
            found.append(
                wire.AttachedBalancer(name=name, outer=link, inner=link, fenced=False, around=around)
            )
        return found

    def around(self, segment: str) -> wire.SegmentView:
        self.enter("around")
        self.led_around.add(segment)
        return wire.SegmentView(name=segment, inserted=True, around=True)

    def through(self, segment: str) -> wire.SegmentView:
        self.enter("through")
        self.led_around.discard(segment)
        return wire.SegmentView(name=segment, inserted=True)

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
    segment: str = "main"
    timeouts: wire.TimeoutsModel = field(default_factory=wire.TimeoutsModel)
    ask_id: int = 4094
    rewrites: bool = False
    states: dict[TagPair, PairState] = field(default_factory=dict)
    weights: dict[TagPair, int] = field(default_factory=dict)
    sessions: dict[TagPair, int] = field(default_factory=dict)
    bypasses: set[TagPair] = field(default_factory=set)
    classifier: list[wire.TrafficRule] = field(default_factory=list)
    check: wire.HealthCheckModel | None = None
    fallen: bool = False
    """Are all chains down?"""
    healths: dict[TagPair, wire.PairHealth] = field(default_factory=dict)
    counted: dict[TagPair, dict[str, int]] = field(default_factory=dict)
    """Counters of chains in place of the plain ones."""
    epoch: int = 0
    peer: str | None = None
    """The process that it takes for its peer; its own is called as it is."""

    def health(self) -> wire.BalancerHealth:
        self.enter("health")
        return wire.BalancerHealth(
            status="ok",
            role=self.role,
            segment=self.segment,
            data_plane="ebpf",
            epoch=self.epoch,
            instance=self.name,
            ask_id=self.ask_id,
            timeouts=self.timeouts,
            rewrites=self.rewrites,
            peer=wire.PeerHealth(url=None, connected=True, instance=self.peer),
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
                condition=self._condition(pair),
                health=self.healths.get(pair),
            )
            for slot, (pair, state) in enumerate(self.states.items())
        ]
        return wire.ChainSet(
            segment=self.segment,
            epoch=self.epoch,
            designated=0 if self.states else None,
            pairs=pairs,
            classifier=self.classifier,
            health=self.check,
        )

    def _condition(self, pair: TagPair) -> Condition:
        known = self.healths.get(pair)
        fell = self.fallen or (known is not None and known.verdict == "down")
        return Condition.DOWN if fell else Condition.UP

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
                health=self.healths.get(pair),
            ).model_copy(update=self.counted.get(pair, {}))
            for slot, (pair, state) in enumerate(self.states.items())
        ]
        return wire.BalancerStats(
            health=self.health(),
            role=self.role,
            segment=self.segment,
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

    def put_health(self, order: wire.HealthOrder) -> wire.ChainSet:
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
