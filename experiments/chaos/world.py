"""The simulator: hosts, two load balancers, chains, the bypass and a control link, all in one event loop.

The daemons are the real ones, over data planes made of the oracle; links delay and lose. Times are ms.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import count
from typing import Self
from weakref import WeakKeyDictionary

from catenary.errors import CatenaryError
from catenary.session import End, SessionKey, Timeouts
from catenary.tags import TagPair
from experiments.chaos.control import TICK, LossyPeer
from experiments.chaos.judge import Arrival, Line, Lines, Ticket
from experiments.chaos.orphans import Orphans
from experiments.chaos.plane import OraclePlane
from lb_adapter.core.oracle import TCP, FrameClass, Parsed
from lb_adapter.core.oracle_pin import ACK, BOTH, FROM_CLIENT, FROM_SERVER, RST, Times
from lb_adapter.core.setup import Order, Verdict
from lb_adapter.dataplane.base import Policy, SpliceConfig, TakeOver
from lb_adapter.master import Master
from lb_adapter.slave import Slave

ASK = 4094
TIMEOUTS = Timeouts(
    tcp_opening=0.4,
    tcp_established=0.9,
    tcp_closing=0.2,
    udp=0.3,
    other=0.3,
    neighbour=0.3,
    lease=0.15,
    transit=0.1,
)
"""Short, so that sessions meet every one of them; in the proportions of real ones."""
MakePlane = Callable[[str, Callable[[], int], int], OraclePlane]
"""From a role, a clock in ms and a capacity."""
Task = Iterator[int]
Event = tuple[int, int, Callable[[], None]]
"""When, a number that keeps the order, and what."""


@dataclass(frozen=True)
class Options:
    """One world. `loss` is the share of packets lost on every way, `control_loss` of calls between the LBs;
    `change_every` and `fault_every` are mean times in ms; `talks` are keys in use at once."""

    seed: int
    sessions: int = 1000
    timeouts: Timeouts = TIMEOUTS
    policy: Policy = "p2c"
    capacity: int = 1_000_000
    refuse_full: bool = False
    slow_start: float = 0.0
    loss: float = 0.02
    control_loss: float = 0.1
    change_every: int = 300
    fault_every: int = 3000
    talks: int = 60
    most_chains: int = 4
    rewrites: bool = False
    """Chains change keys (`rewriting`)."""


@dataclass
class Path:
    """A chain as the switches know it. `deaf`: the side whose packets its NF drops, or 0."""

    name: str
    tags: TagPair
    delays: dict[int, tuple[int, int]]
    deaf: int = 0


@dataclass
class Outcome:
    """What a world saw. `orphaned`: sessions that crossed since a master that lost its tables alone knew them
    (affinity rule 8), counted apart. `ended`: pins that orders ended at the master, by how.

    `cut`: packets of sessions under way that were dropped, by reason; random loss is not
    among them. `refused` is the same for sessions that never got into a chain. `lost`: sessions of which a
    packet came to a network function that does not know them."""

    sessions: int = 0
    packets: int = 0
    changes: int = 0
    faults: int = 0
    orphaned: int = 0
    broken: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Outcome) -> Self:
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))
        return self


@dataclass(slots=True, eq=False)
class Packet:
    line: Line
    side: int
    parsed: Parsed
    flags: int
    ticket: Ticket

    def answered(self) -> Packet:
        """The RST that it becomes."""
        side, flags = BOTH - self.side, RST | ACK
        ticket = Ticket(self.ticket.session, self.ticket.before, side, flags)
        return Packet(self.line, side, replace(self.parsed, tcp_flags=flags), flags, ticket)


class World:
    """Both load balancers and what lies around them; `make` makes their data planes."""

    def __init__(
        self,
        options: Options,
        make: MakePlane,
        *,
        slow_slave: bool = False,
        daemon: type[Master] = Master,
    ) -> None:
        self.options = options
        self.slow_slave = slow_slave
        self._daemon = daemon
        self.rng = random.Random(options.seed)
        self.now = 1000
        self.outcome = Outcome()
        self.paths: dict[int, Path] = {}
        """By either of its tags."""
        self._ends: WeakKeyDictionary[Line, tuple[End, End]] = WeakKeyDictionary()
        self._transit = round(options.timeouts.transit * 1000)
        self._orphans = Orphans(self._transit)
        self._bypass = {side: self._way() for side in (FROM_CLIENT, FROM_SERVER)}
        # Packets and hosts, and what the daemons and their management do.
        self._traffic: list[Event] = []
        self._control: list[Event] = []
        self._order = count()
        self._make = make
        self._times = Times.of(options.timeouts)
        self.lines = Lines(self._times)
        self.planes = {"master": self._plane("master"), "slave": self._plane("slave")}
        self.slave = self._slave()
        self.master = self._master()

    # -- the daemons ---------------------------------------------------------------------------------------

    def seconds(self) -> float:
        return self.now / 1000

    def _plane(self, role: str) -> OraclePlane:
        plane = self._make(role, lambda: self.now, self.options.capacity)
        plane.swept = partial(self._swept, role)
        plane.forgot = lambda keys: self.lines.forgot(role, keys, self.now)
        return plane

    def _swept(self, role: str, order: Order, ended: Mapping[bytes, TagPair]) -> None:
        names = {path.tags: path.name for path in self.paths.values()}
        self.lines.swept(role, order, {key: names.get(tags, "") for key, tags in ended.items()}, self.now)
        self.outcome.ended["idle" if order.idle else order.mode] += len(ended) if role == "master" else 0

    def _slave(self) -> Slave:
        config = SpliceConfig("slave", "outer", "inner", None, self.options.timeouts)
        return Slave(self.planes["slave"], config, "main", clock=self.seconds)

    def _master(self) -> Master:
        options = self.options
        config = SpliceConfig(
            "master",
            "outer",
            "inner",
            ASK,
            options.timeouts,
            policy=options.policy,
            refuse_full=options.refuse_full,
            rewrites=options.rewrites,
        )
        return self._daemon(
            self.planes["master"],
            config,
            "main",
            LossyPeer(self, options.control_loss),
            slow_start=options.slow_start,
            clock=self.seconds,
        )

    def restart_master(self) -> None:
        """The daemon is killed and comes back; its data plane went on."""
        self.master = self._master()

    def lose_master(self) -> None:
        """The master loses its tables, too."""
        lost = self.planes["master"].splice
        assert lost is not None
        self._orphans.lose(lost, self.now)
        self.planes["master"] = self._plane("master")
        self.master = self._master()

    @property
    def whole(self) -> bool:
        """Has each of the two what the other would need? Both at once can't be lost."""
        return self.slave.table.epoch > 0 and self.planes["master"].take_over() is not TakeOver.HOLD

    @property
    def losses(self) -> tuple[Callable[[], None], ...]:
        """What may get lost next: a session table, while the other one is whole."""
        return (self.lose_slave, self.lose_master) if self.whole else ()

    def restart_slave(self) -> None:
        self.slave = self._slave()

    def lose_slave(self) -> None:
        """The slave loses its tables, too."""
        self.planes["slave"] = self._plane("slave")
        self.slave = self._slave()

    def tick(self) -> Task:
        while True:
            self.slave.tick()
            with suppress(CatenaryError):  # the control link; the next tick tries again
                self.master.tick()
            self._find_orphans()
            yield TICK

    def _find_orphans(self) -> None:
        if self.planes["master"].take_over() is not TakeOver.HOLD:
            self._orphans.find(self.planes["slave"].splice, self.planes["master"].splice)

    # -- the loop ------------------------------------------------------------------------------------------

    def later(self, delay: int, call: Callable[[], None], *, control: bool = False) -> None:
        events = self._control if control else self._traffic
        heapq.heappush(events, (self.now + delay, next(self._order), call))

    def spawn(self, task: Task, *, control: bool = False) -> None:
        """Run a task: it yields the ms until it wants to go on."""

        def step() -> None:
            delay = next(task, None)
            if delay is not None:
                self.later(delay, step, control=control)

        step()

    def run(self, until: Callable[[], bool]) -> None:
        while not until():
            traffic, control = self._traffic, self._control
            first = not control or (bool(traffic) and traffic[0] <= control[0])
            self._next(traffic if first else control)

    def go_on(self, span: int) -> None:
        """Let `span` ms of traffic pass in the middle of something that the daemons do."""
        end = self.now + span
        while self._traffic and self._traffic[0][0] <= end:
            self._next(self._traffic)
        self.now = max(self.now, end)

    def _next(self, events: list[Event]) -> None:
        at, _, call = heapq.heappop(events)
        self.now = max(self.now, at)
        call()

    def broke(self, promise: str) -> None:
        """A counter-example that no packet shows."""
        self.outcome.broken.append(f"seed {self.options.seed}, {self.now} ms: {promise}")

    # -- packets -------------------------------------------------------------------------------------------

    def line(self, client: End, server: End, protocol: int) -> Line:
        line = self.lines.add(SessionKey.of(client, server, protocol))
        self._ends[line] = (client, server)
        return line

    def send(self, line: Line, side: int, flags: int = 0, *, fresh: bool = False) -> None:
        """A host at `side` sends a packet."""
        ticket = line.sent(side, flags, self.now, fresh=fresh)
        packet = Packet(line, side, self._parsed(line, side, flags), flags, ticket)
        self.outcome.packets += 1
        self._arrive(packet, "master" if side == FROM_CLIENT else "slave", None)

    def _parsed(self, line: Line, side: int, flags: int) -> Parsed:
        client, server = self._ends[line]
        sender, receiver = (client, server) if side == FROM_CLIENT else (server, client)
        return Parsed(
            FrameClass.SESSION,
            key=line.key,
            tcp_flags=flags if line.key.kind == TCP else 0,
            sender=sender,
            receiver=receiver,
        )

    def _arrive(self, packet: Packet, role: str, vid: int | None) -> None:
        splice = self.planes[role].splice
        assert splice is not None
        if vid is None:
            verdict = splice.decide_outer(packet.parsed, self.now)
        else:
            verdict = splice.decide_inner(packet.parsed, vid, self.now)
        splice.counts[verdict.reason] += 1
        self._tell(packet, role, vid, verdict)
        if verdict.reason == "session_reset":
            packet = packet.answered()
        if not verdict.port:
            self._drop(packet, verdict.reason)
        elif verdict.port == "outer":
            self._deliver(packet, FROM_CLIENT if role == "master" else FROM_SERVER)
        else:
            self._switch(packet, role, verdict.vid)

    def _deliver(self, packet: Packet, side: int) -> None:
        packet.line.delivered(packet.ticket, side)

    def _switch(self, packet: Packet, role: str, vid: int) -> None:
        """The switches: port and tag lead into a chain or over the bypass."""
        way = FROM_CLIENT if role == "master" else FROM_SERVER
        other = "slave" if role == "master" else "master"
        path = self.paths.get(vid)
        own = path is not None and vid == path.tags.ids[way == FROM_SERVER]
        if vid != ASK and path is None:
            self._drop(packet, "no rule of the switches")
        elif path is None or not own:
            if self.rng.random() >= self.options.loss:
                self.later(self.rng.randint(*self._bypass[way]), lambda: self._arrive(packet, other, vid))
        else:
            self._enter(packet, path, way, other, vid)

    def _enter(self, packet: Packet, path: Path, way: int, other: str, vid: int) -> None:
        line = packet.line
        if line.entered(packet.ticket, path.name, self.now):
            if self._is_orphan(packet):
                self.outcome.orphaned += 1
            else:
                self.outcome.broken.append(self._counter_example(line, packet.ticket))
        if path.deaf == way or self.rng.random() < self.options.loss:
            return

        def leave() -> None:
            line.left(packet.ticket, self.now)
            if self.paths.get(vid) is path:
                self._arrive(packet, other, vid)
            else:
                self._drop(packet, "no rule of the switches")

        at = max(self.now + self.rng.randint(*path.delays[way]), line.ways.get((path.name, way), 0))
        line.ways[path.name, way] = at
        self.later(at - self.now, leave)

    def _is_orphan(self, packet: Packet) -> bool:
        """Was it lost with a table (affinity rule 8)?"""
        self._find_orphans()
        begun = packet.ticket.session.begun
        return begun is not None and self._orphans.has(packet.line.key.pack(), begun)

    def _drop(self, packet: Packet, reason: str) -> None:
        session = packet.ticket.session
        if session.ended:
            return
        (self.outcome.cut if session.chains else self.outcome.refused)[reason] += 1

    # -- chains --------------------------------------------------------------------------------------------

    def _way(self) -> tuple[int, int]:
        low, high = sorted(self.rng.choice((1, 5, 20, self._transit // 2, self._transit)) for _ in range(2))
        return low, high

    def steer(self, tags: TagPair) -> Path:
        """The switches lead these tags through a new chain from now on."""
        path = Path(
            f"chain {tags} of {self.now} ms", tags, {side: self._way() for side in (FROM_CLIENT, FROM_SERVER)}
        )
        if self.rng.random() < 0.1:
            path.deaf = self.rng.choice((FROM_CLIENT, FROM_SERVER))
        self.paths |= dict.fromkeys(tags.ids, path)
        return path

    def unsteer(self, tags: TagPair) -> None:
        self.paths = {vid: path for vid, path in self.paths.items() if path.tags != tags}

    # -- counter-examples ----------------------------------------------------------------------------------

    def _tell(self, packet: Packet, role: str, vid: int | None, verdict: Verdict) -> None:
        packet.line.story.append(Arrival(self.now, role, packet.side, packet.flags, vid, verdict))

    def _counter_example(self, line: Line, ticket: Ticket) -> str:
        chains = ", ".join(f"{name} at {when} ms" for name, when in ticket.session.chains.items())
        rows = [str(arrival) for arrival in line.story]
        return "\n".join([f"seed {self.options.seed}: {line.key} crossed {chains}", *rows])
