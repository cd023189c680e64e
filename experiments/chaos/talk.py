"""What the simulator's hosts say: TCP connections and datagrams, with pauses near every timeout."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from ipaddress import IPv4Address
from itertools import count

from catenary.session import End
from experiments.chaos.judge import Line
from experiments.chaos.world import Task, World
from lb_adapter.core.oracle import TCP, UDP
from lb_adapter.core.oracle_pin import ACK, BOTH, FIN, FROM_CLIENT, FROM_SERVER, RST, SYN

ICMP = 1
SIDES = (FROM_CLIENT, FROM_SERVER)
SERVER = End(IPv4Address("10.0.0.2"), 80)
PING = IPv4Address("10.9.0.2")


class Talks:
    """Keeps `talks` keys busy until `sessions` sessions were had; a key is used once, or again and again."""

    def __init__(self, world: World, talk: Callable[[World, Line], Task]) -> None:
        self._world = world
        self._say = talk
        self._rng = world.rng
        self._numbers = count()
        self._running = 0

    @property
    def over(self) -> bool:
        world = self._world
        return world.outcome.sessions >= world.options.sessions and not self._running

    def keep_busy(self) -> Task:
        world = self._world
        while world.outcome.sessions < world.options.sessions:
            while self._running < world.options.talks:
                self._running += 1
                world.spawn(self._talk())
            yield 20

    def _talk(self) -> Task:
        number = next(self._numbers)
        kind = self._rng.choices((TCP, UDP, ICMP), (8, 2, 1))[0]
        client = End(
            IPv4Address((10 << 24) + (1 << 16) + number), 1024 + number % 50000 if kind != ICMP else 7
        )
        server = SERVER if kind != ICMP else End(PING, 7)
        line = self._world.line(client, server, kind)
        yield self._rng.randint(0, 50)
        yield from self._say(self._world, line)
        self._world.outcome.sessions += line.sessions
        self._running -= 1


def plain(world: World, line: Line) -> Task:
    """What hosts say where chains change no keys."""
    return tcp(world, line) if line.key.kind == TCP else datagrams(world, line)


def datagrams(world: World, line: Line) -> Task:
    rng = world.rng
    for _ in range(rng.randint(1, 12)):
        world.send(line, rng.choice(SIDES))
        yield pause(world, line)
        if rng.random() < 0.1:
            yield from stream(world, line)


def stream(world: World, line: Line) -> Task:
    """One side alone, without a pause as long as a lease."""
    side, most = world.rng.choice(SIDES), round(1000 * world.options.timeouts.lease)
    for _ in range(world.rng.randint(5, 25)):
        world.send(line, side, ACK)
        yield world.rng.randint(most // 4, most - 1)


def tcp(world: World, line: Line) -> Task:
    """One connection after the other on one key."""
    while True:
        yield from connection(world, line, world.rng.choices(SIDES, (3, 1))[0])
        if world.rng.random() < 0.6:
            return


def connection(world: World, line: Line, opener: int) -> Task:
    rng = world.rng
    other = BOTH - opener
    world.send(line, opener, SYN, fresh=True)
    if rng.random() < 0.05:
        world.send(line, other, SYN, fresh=True)
    if not (yield from until_heard(world, line, other, lambda: world.send(line, opener, SYN))):
        return
    if rng.random() < 0.05:
        world.send(line, other, RST | ACK)
        yield moment(world)
    else:
        world.send(line, other, SYN | ACK)
        if not (yield from until_heard(world, line, opener, lambda: world.send(line, other, SYN | ACK))):
            return
        world.send(line, opener, ACK)
        yield from turns(world, line, rng.randint(0, 8))
    yield from ending(world, line)


def until_heard(world: World, line: Line, side: int, again: Callable[[], None]) -> Generator[int, None, bool]:
    """Wait until the host at `side` got something; send it again a few times."""
    for _ in range(4):
        for _ in range(world.rng.randint(1, 10)):
            yield world.rng.randint(1, 40)
            if line.heard(side):
                return True
        again()
    return False


def turns(world: World, line: Line, number: int) -> Task:
    for _ in range(number):
        yield pause(world, line)
        if world.rng.random() < 0.03:
            yield from stream(world, line)
        forged = world.rng.random() < 0.02
        world.send(line, world.rng.choice(SIDES), RST if forged else ACK)


def ending(world: World, line: Line) -> Task:
    """FIN both ways, a RST, or silence; then what comes late."""
    rng = world.rng
    how = rng.choice(("fins", "fins", "fins", "reset", "half", "silence"))
    first = rng.choice(SIDES)
    if how in ("fins", "half"):
        yield pause(world, line)
        world.send(line, first, FIN | ACK)
        yield from turns(world, line, rng.choice((0, 0, 1, 2)))
        if how == "fins":
            world.send(line, BOTH - first, FIN | ACK)
    elif how == "reset":
        yield pause(world, line)
        world.send(line, first, RST)
    for _ in range(rng.choice((0, 0, 1, 2, 4))):
        yield rng.choice((pause, within_2d, edge))(world, line)
        world.send(line, rng.choice(SIDES), rng.choice((ACK, ACK, FIN | ACK, RST)))
    yield pause(world, line)


def moment(world: World) -> int:
    return world.rng.randint(0, 40)


def within_2d(world: World, line: Line) -> int:
    return world.rng.randint(0, round(2000 * world.options.timeouts.transit))


def edge(world: World, line: Line) -> int:
    """Just before the session is over."""
    quiet = 0 if line.crossed_at is None else world.now - line.crossed_at
    return max(0, line.limit - quiet - world.rng.randint(0, 3))


def pause(world: World, line: Line) -> int:
    """ms of quiet: often short, and often just around the idle limit, the lease, or 2 D."""
    rng: random.Random = world.rng
    how = rng.random()
    if how < 0.5:
        return moment(world)
    if how < 0.65:
        return rng.randint(0, line.limit)
    timeouts = world.options.timeouts
    lease, transit = round(1000 * timeouts.lease), round(1000 * timeouts.transit)
    marks = (line.limit, line.limit, line.limit + lease + 2 * transit, lease, 2 * transit, 4 * transit)
    quiet = 0 if line.crossed_at is None else world.now - line.crossed_at
    aim = rng.choice(marks) + rng.choice((-transit, -10, -2, -1, 0, 1, 2, 10, transit))
    return max(0, aim - quiet)
