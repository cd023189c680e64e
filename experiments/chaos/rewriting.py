"""A world whose chains rewrite: in each, a source NAT gives every client an address of its own pool.

So a session has two keys, and each load balancer sees one of them. What the server sends to an address that
another chain's NAT made is lost there. No chain drops anything else: that would keep one key alive only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from catenary.session import End, SessionKey
from catenary.tags import TagPair
from experiments.chaos.judge import SIDES, Line
from experiments.chaos.talk import edge, moment, until_heard, within_2d
from experiments.chaos.world import Packet, Path, Task, World
from lb_adapter.core.oracle import TCP, Parsed
from lb_adapter.core.oracle_pin import ACK, FIN, FROM_CLIENT, FROM_SERVER, SYN
from lb_adapter.peering import PACE

LAG = round(2000 * PACE)
"""ms: in that time each load balancer has told the other its keys. Younger ones may be lost with a table."""
POOLS = int(IPv4Address("172.16.0.0"))


class RewritingWorld(World):
    """Only clients open sessions: a server answers the address that it saw last."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._made: dict[tuple[str, Line], End] = {}
        """What each chain's NAT made of a client."""
        self._seen: WeakKeyDictionary[Line, End] = WeakKeyDictionary()
        """Where the server answers."""
        self._crossings: WeakKeyDictionary[Line, list[int]] = WeakKeyDictionary()
        """When packets went into a chain, since the session may rest as long as now: `LAG` back, and one."""
        self._limits: WeakKeyDictionary[Line, int] = WeakKeyDictionary()
        self._known: WeakKeyDictionary[Line, float] = WeakKeyDictionary()
        """The last crossing that both must have known of when one lost its table; until its next crossing."""
        self._young: WeakSet[Line] = WeakSet()
        """Those that were over by then as far as both knew."""
        self._settled: WeakSet[Line] = WeakSet()
        self._lost: WeakSet[Line] = WeakSet()
        self._loss_at = 0
        super().__init__(*arguments, **options)

    def answers(self, line: Line) -> bool:
        """Has the server anything to answer?"""
        return line in self._seen

    def settled(self, line: Line) -> bool:
        """Has the server got the ACK that ends the handshake? It would send its SYN-ACK again otherwise."""
        return line in self._settled

    # -- losses --------------------------------------------------------------------------------------------

    @property
    def losses(self) -> tuple[Callable[[], None], ...]:
        """One of the two in each world, and not before it has heard again what it lost."""
        if not self.whole or self.now - self._loss_at <= 2 * LAG:
            return ()
        return (self.lose_slave if self.options.seed % 2 else self.lose_master,)

    def lose_master(self) -> None:
        self._lose()
        super().lose_master()

    def lose_slave(self) -> None:
        self._lose()
        super().lose_slave()

    def _lose(self) -> None:
        self._loss_at = self.now
        for line, crossings in self._crossings.items():
            known = max((at for at in crossings if at <= self.now - LAG), default=-math.inf)
            self._known[line] = min(known, self._known.get(line, known))

    def _is_orphan(self, packet: Packet) -> bool:
        return packet.line in self._young

    # -- packets -------------------------------------------------------------------------------------------

    def _parsed(self, line: Line, side: int, flags: int) -> Parsed:
        parsed = super()._parsed(line, side, flags)
        return parsed if side == FROM_CLIENT else _between(parsed, parsed.sender, self._seen[line])

    def _deliver(self, packet: Packet, side: int) -> None:
        super()._deliver(packet, side)
        if side == FROM_SERVER and packet.parsed.sender is not None:
            self._seen[packet.line] = packet.parsed.sender
            if packet.flags & ACK:
                self._settled.add(packet.line)

    def _enter(self, packet: Packet, path: Path, way: int, other: str, vid: int) -> None:
        line, parsed = packet.line, packet.parsed
        if self.now - self._known.pop(line, self.now) > line.limit:
            self._young.add(line)
        made = self._made.get((path.name, line))
        if way == FROM_CLIENT:
            packet.parsed = _between(parsed, made or self._make_end(path, line), parsed.receiver)
        elif made is None or made != parsed.receiver:
            self._lose_packet(packet, path)
            return
        else:
            packet.parsed = _between(parsed, parsed.sender, self._ends[line][0])
        super()._enter(packet, path, way, other, vid)
        self._note(line)

    def _note(self, line: Line) -> None:
        changed = self._limits.get(line) != line.limit
        self._limits[line] = line.limit
        before = [] if changed else self._crossings[line]
        recent = [at for at in before if at > self.now - LAG]
        self._crossings[line] = [*before[: len(before) - len(recent)][-1:], *recent, self.now]

    def steer(self, tags: TagPair) -> Path:
        path = super().steer(tags)
        path.deaf = 0
        return path

    def _make_end(self, path: Path, line: Line) -> End:
        number = len(self._made)
        made = self._made[path.name, line] = End(IPv4Address(POOLS + number), self._ends[line][0].port)
        return made

    def _lose_packet(self, packet: Packet, path: Path) -> None:
        """Another chain's NAT made that address."""
        line = packet.line
        if line not in self._lost and self._is_orphan(packet):
            self.outcome.orphaned += 1
        elif line not in self._lost:
            line.story.append(f"{self.now:8} ms  unknown to the NAT of {path.name}")
            self.outcome.lost.append(self._counter_example(line, packet.ticket))
        self._lost.add(line)


def _between(parsed: Parsed, sender: End | None, receiver: End | None) -> Parsed:
    """The same packet with other ends."""
    assert parsed.key is not None
    assert sender is not None
    assert receiver is not None
    return replace(
        parsed, key=SessionKey.of(sender, receiver, parsed.key.kind), sender=sender, receiver=receiver
    )


def translated(world: World, line: Line) -> Task:
    """A session that never rests for longer than it may, on a key that is used once."""
    assert isinstance(world, RewritingWorld)
    yield from _tcp(world, line) if line.key.kind == TCP else _turns(world, line)


def _tcp(world: RewritingWorld, line: Line) -> Task:
    world.send(line, FROM_CLIENT, SYN, fresh=True)
    if not (yield from until_heard(world, line, FROM_SERVER, lambda: world.send(line, FROM_CLIENT, SYN))):
        return
    world.send(line, FROM_SERVER, SYN | ACK)
    again = partial(world.send, line, FROM_SERVER, SYN | ACK)
    if not (yield from until_heard(world, line, FROM_CLIENT, again)):
        return
    while not world.settled(line):
        world.send(line, FROM_CLIENT, ACK)
        yield moment(world)
    yield from _turns(world, line)
    for side in world.rng.sample(SIDES, 2):
        yield moment(world)
        world.send(line, side, FIN | ACK)
    yield from _turns(world, line, most=2)


def _turns(world: RewritingWorld, line: Line, most: int = 20) -> Task:
    for _ in range(world.rng.randint(1, most)):
        side = world.rng.choice(SIDES) if world.answers(line) else FROM_CLIENT
        world.send(line, side, ACK)
        pauses = moment(world), within_2d(world, line), edge(world, line)
        yield world.rng.choices(pauses, (6, 3, 1))[0]
