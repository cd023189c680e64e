"""A standby that follows its master and takes its place (affinity rule 8), over data planes of the oracle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from typer.testing import CliRunner

from catenary import wire
from catenary.errors import CatenaryError, Conflict, InvalidValue, Unavailable
from catenary.session import Timeouts
from experiments.chaos.plane import OraclePlane
from lb_adapter import copies, feed
from lb_adapter.cli import app
from lb_adapter.core.oracle_pin import Pin, Times, expired
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.dataplane.base import SpliceConfig, TakeOver
from lb_adapter.master import Master
from lb_adapter.places import Places, judged
from lb_adapter.slave import Slave
from lb_adapter.standby_roles import MasterStandby, SlaveStandby
from tests.unit.lb_health import health_of

TIMEOUTS = Timeouts(tcp_opening=30, tcp_established=60, tcp_closing=5, lease=3, transit=2)
D = 2000
ADD = [wire.PairAdd(forward=f, reverse=f + 1) for f in (2, 4, 6)]


def packet(port: int, flags: str) -> bytes:
    return bytes(
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / TCP(sport=1000 + port, dport=80, flags=flags)
    )


class Here:
    """A daemon of this process, as a client shows it; `dead` is out of reach."""

    def __init__(self, daemon: Any, url: str) -> None:
        self.daemon, self.url, self.dead = daemon, url, False

    def __getattr__(self, name: str) -> Any:
        if self.dead:
            raise Unavailable(f"{self.url} can't be reached")
        return getattr(self.daemon, name)


class World:
    """A master, its slave, and a standby; `now` is in ms."""

    def __init__(self) -> None:
        self.now = 100_000
        self.slave = Slave(self._plane(), self._config("slave"), "main", clock=self._clock)
        self.peer = Here(self.slave, "slave")
        self.master = Master(self._plane(), self._config("master"), "main", self.peer, clock=self._clock)
        self.master.tick()
        self.master.change(wire.Change(add=ADD))
        self.active = Here(self.master, "active")
        self.standby = self.stand_by()
        self.stream: Iterator[Any] = iter(())

    def stand_by(self, plane: OraclePlane | None = None) -> MasterStandby:
        made, config = plane or self._plane(), self._config("master")
        return MasterStandby(made, config, "main", self.peer, self.active, clock=self._clock)

    def _plane(self) -> OraclePlane:
        return OraclePlane(lambda: self.now, Splice, 1000)

    def _config(self, role: Any) -> SpliceConfig:
        return SpliceConfig(role, "outer", "inner", 4094 if role == "master" else None, TIMEOUTS)

    def _clock(self) -> float:
        return self.now / 1000

    @staticmethod
    def splice(daemon: Any) -> Splice:
        splice = daemon._plane.splice
        assert isinstance(splice, Splice)
        return splice

    def pins(self, daemon: Any) -> dict[bytes, Pin]:
        return dict(self.splice(daemon).pins)

    def client(self, port: int, flags: str, daemon: Any = None) -> tuple[str, bytes]:
        verdict, frame = self.splice(daemon or self.master).outer(packet(port, flags), self.now)
        return verdict.reason, frame

    def open_stream(self) -> None:
        made = copies.feed(
            self.master._plane, lambda _: self.master.table.epoch, self._clock, lambda _: False
        )
        self.stream = feed.read(made, protocol=wire.PROTOCOL)

    def round(self) -> None:
        """The standby is in step with the master now."""
        for made in self.stream:
            self.standby._hear(made)
            if made is not None:
                return

    def take_over(self) -> None:
        self.active.dead = True
        self.standby.take_over(wire.TakeOverOrder())

    def let_pass(self, ms: int) -> None:
        self.now += ms
        self.standby.tick()


@pytest.fixture
def world() -> World:
    world = World()
    world.standby.tick()
    world.open_stream()
    return world


def lively(pin: Pin, now: int) -> bool:
    return not expired(pin, now, Times.of(TIMEOUTS))


def test_pins_that_had_reached_it_are_kept(world: World) -> None:
    for port in range(20):
        world.client(port, "S")
    world.round()
    world.client(99, "S")
    health = world.standby.health()
    assert health.standby is not None
    assert (health.status, health.standby.state, health.standby.lag) == ("ok", "following", 0.0)
    world.take_over()
    assert world.client(0, "A", world.standby)[0] == "drop_take_over"
    world.let_pass(D)
    assert world.client(0, "A", world.standby)[0] == "drop_take_over", "not before more than D has passed"
    world.let_pass(1)
    before = world.pins(world.master)
    for port in range(20):
        world.client(port, "A", world.standby)
    after = world.pins(world.standby)
    assert {key: (pin.slot, pin.generation) for key, pin in after.items()}.items() <= {
        key: (pin.slot, pin.generation) for key, pin in before.items()
    }.items()
    assert len(after) == 20
    assert world.splice(world.standby).counts["orphaned"] == 0
    world.client(99, "A", world.standby)
    assert world.splice(world.standby).counts["orphaned"] == 1, "what only the lost one knew"
    assert world.standby.health().peer.connected
    assert world.slave.health().term == 1


def test_what_the_slave_saw_since_is_copied_from_there(world: World) -> None:
    world.round()
    reason, frame = world.client(7, "S")
    assert reason == "to_chain"
    world.take_over()
    world.now += D // 2
    world.splice(world.slave).inner(frame, world.now)  # it was in the chain
    world.let_pass(D)
    ((key, pin),) = world.pins(world.master).items()
    assert world.pins(world.standby)[key].slot == pin.slot


def test_sessions_that_end_end_here_too(world: World) -> None:
    for port in range(4):
        world.client(port, "S")
    world.round()
    world.now += 1000 * 100
    world.client(9, "S")
    world.master.tick()
    world.round()
    world.standby.tick()
    assert world.pins(world.standby).keys() == world.pins(world.master).keys()
    assert len(world.pins(world.standby)) == 1


def test_by_its_own_clock_it_expires_nothing(world: World) -> None:
    world.client(1, "S")
    world.round()
    for _ in range(5):
        world.now += 60 * 60 * 1000
        world.standby.tick()
    assert len(world.pins(world.standby)) == 1
    world.take_over()
    world.let_pass(D + 1)
    (pin,) = world.pins(world.standby).values()
    assert lively(pin, world.now)
    world.let_pass(1000 * 60)
    assert not world.pins(world.standby), "from now on by its own clock"


def test_a_stream_that_breaks_begins_anew(world: World) -> None:
    world.client(1, "S")
    world.client(2, "S")
    world.round()
    world.now += 1000 * 100
    world.master.tick()  # both have ended
    world.client(3, "S")
    world.standby._following = replace(world.standby._following, reason="cut")
    world.open_stream()
    world.round()
    world.standby.tick()
    assert world.pins(world.standby).keys() == world.pins(world.master).keys()


def test_a_change_of_the_chain_set_comes_before_its_pins(world: World) -> None:
    world.round()
    world.master.change(
        wire.Change(remove=[wire.Tags(forward=2, reverse=3)], add=[wire.PairAdd(forward=8, reverse=9)])
    )
    world.client(1, "S")
    world.round()
    assert world.standby.pairs() == world.master.pairs()
    assert len(world.pins(world.standby)) == 1


def test_without_a_stream_it_copies_its_slave(world: World) -> None:
    """It never was in step: it is a master without a table then."""
    _, frame = world.client(1, "S")
    world.splice(world.slave).inner(frame, world.now)
    world.take_over()
    world.let_pass(1)
    world.let_pass(D + 1)
    assert world.standby.health().peer.connected
    assert world.pins(world.standby).keys() == world.pins(world.master).keys()


def test_the_master_whose_place_was_taken_is_refused(world: World) -> None:
    """Its machine lives, say: the slave does not go back to it."""
    world.round()
    world.standby.take_over(wire.TakeOverOrder())
    world.let_pass(D + 1)
    for _ in range(3):
        world.master.tick()
        world.let_pass(1000)
    health = world.master.health()
    assert "a standby has taken the place of this master (term 1, not 0)" in (health.peer.reason or "")
    assert world.standby.health().peer.connected
    with pytest.raises(Unavailable, match="no handshake with the slave"):
        world.master.change(wire.Change(add=[wire.PairAdd(forward=8, reverse=9)]))


def test_what_a_standby_does_not_do(world: World) -> None:
    world.round()
    for refused in (
        lambda: world.standby.change(wire.Change(add=[wire.PairAdd(forward=8, reverse=9)])),
        lambda: world.standby.rebalance(wire.Rebalance()),
        lambda: world.standby.put_health(wire.HealthOrder(health=None)),
    ):
        with pytest.raises(CatenaryError, match="stands by for active"):
            refused()
    with pytest.raises(Conflict, match="stands by for active: follow that one"):
        world.standby.feed()
    assert world.standby._plane.take_over() is TakeOver.HOLD


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ({"role": "slave"}, "is the slave of segment 'main', not the master"),
        ({"segment": "dmz"}, "is the master of segment 'dmz', not the master of 'main': check --standby-of"),
        ({"ask_id": 7}, "has other --ask-id, 7, not 4094: start both with the same"),
        ({"timeouts": wire.TimeoutsModel()}, "has other timeouts"),
        ({"rewrites": True}, "has other --rewrites, True, not False"),
    ],
)
def test_whom_it_does_not_follow(world: World, health: dict[str, Any], reason: str) -> None:
    with pytest.raises(Conflict, match=reason):
        world.standby._check(world.master.health().model_copy(update=health))


def test_a_process_that_was_active_goes_on(world: World) -> None:
    """Its data plane outlives it, and does not hold."""
    world.round()
    world.take_over()
    world.let_pass(D + 1)
    plane = world.standby._plane
    again = MasterStandby(
        plane, world._config("master"), "main", world.peer, world.active, clock=world._clock
    )
    again.tick()
    health = again.health()
    assert health.standby is not None
    assert (health.standby.state, health.peer.connected, health.term) == ("active", True, 1)


def test_a_process_that_was_active_stands_by_for_who_took_its_place_since(world: World) -> None:
    world.round()
    world.take_over()
    world.let_pass(D + 1)
    first, plane = world.standby, world.standby._plane
    plane.set_take_over(TakeOver.NONE)
    world.active.daemon, world.active.dead = first, False
    again = MasterStandby(
        plane, world._config("master"), "main", world.peer, world.active, clock=world._clock
    )
    assert again.health().standby.state == "following"  # type: ignore[union-attr]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("client"), st.integers(0, 12), st.sampled_from(["S", "A", "FA", "R"])),
        st.tuples(st.just("out"), st.integers(0, 100), st.just("")),
        st.tuples(st.just("wait"), st.integers(0, 4000), st.just("")),
        st.tuples(st.just("round"), st.just(0), st.just("")),
    ),
    max_size=40,
)


class Story(World):
    """What is in a chain comes out of it within D, unless it is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.standby.tick()
        self.open_stream()
        self.round()
        self.flying: list[tuple[int, bytes]] = []
        self.reached: dict[bytes, Pin] = {}

    def step(self, kind: str, number: int, flags: str) -> None:
        if kind == "client":
            reason, frame = self.client(number, flags)
            if reason == "to_chain":
                self.flying.append((self.now, frame))
        elif kind == "out" and self.flying:
            self.splice(self.slave).inner(self.flying.pop(number % len(self.flying))[1], self.now)
        elif kind == "wait":
            self.now += number
            self.master.tick()
            self.land()
        elif kind == "round":
            self.round()
            self.reached = self.pins(self.master)

    def let_pass(self, ms: int) -> None:
        self.now += ms
        self.land()
        self.standby.tick()

    def land(self) -> None:
        """All that has been in a chain for D."""
        for at, frame in self.flying:
            if at + D < self.now:
                self.splice(self.slave).inner(frame, at + D)
        self.flying = [(at, frame) for at, frame in self.flying if at + D >= self.now]


@given(STEPS, st.integers(0, D))
def test_take_over(steps: list[tuple[str, int, str]], late: int) -> None:
    """Property 7: every pin as lively as before, where it was; what came out of a chain is where it went."""
    world = Story()
    for step in steps:
        world.step(*step)
    died = world.now
    alive = {key: pin for key, pin in world.pins(world.master).items() if lively(pin, died)}
    world.take_over()
    world.let_pass(late)
    assert world.client(50, "S", world.standby)[0] == "drop_take_over", "the stream is flushed, D is not over"
    world.let_pass(D + 1)
    assert world.standby.health().peer.connected
    held = world.pins(world.standby)
    for key in world.reached.keys() & alive.keys():
        if alive[key][:2] == world.reached[key][:2]:
            assert held[key][:2] == alive[key][:2]
    for key in world.pins(world.slave).keys() & alive.keys():
        assert held[key].slot == world.pins(world.slave)[key].slot
    assert all(lively(pin, world.now) for pin in held.values())


class SlavePlace(World):
    """A slave's standby beside the pair; the master knows both addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.old = Here(self.slave, "old")
        self.new = Here(self.stand_by_slave(), "new")
        self.places = Places("main", self.old, self.new)
        self.master._peer = self.places

    def stand_by_slave(self, plane: OraclePlane | None = None) -> SlaveStandby:
        made = plane or self._plane()
        return SlaveStandby(made, self._config("slave"), "main", self.old, clock=self._clock)

    def follow(self) -> None:
        """The standby is in step with the slave now."""
        settled = lambda _: self.slave.table.epoch  # noqa: E731
        for made in feed.read(
            copies.feed(self.slave._plane, settled, self._clock, lambda _: False), protocol=wire.PROTOCOL
        ):
            self.new.daemon._hear(made)
            if made is not None:
                return

    def open(self, port: int) -> bytes:
        """A session whose first packet came out of its chain at the slave; that packet."""
        reason, frame = self.client(port, "S")
        assert reason == "to_chain"
        self.splice(self.slave).inner(frame, self.now)
        return frame

    def reply(self, port: int, daemon: Any = None) -> tuple[str, bytes]:
        """A server's packet at a slave."""
        answer = Ether(packet(port, "SA"))
        answer.src, answer.dst = answer.dst, answer.src
        answer[IP].src, answer[IP].dst = answer[IP].dst, answer[IP].src
        answer[TCP].sport, answer[TCP].dport = answer[TCP].dport, answer[TCP].sport
        verdict, frame = self.splice(daemon or self.new.daemon).outer(bytes(answer), self.now)
        return verdict.reason, frame

    def asked(self, frame: bytes) -> tuple[str, int | None]:
        """What becomes of an ask: the reason at the slave, and the slot of its answer."""
        _, answer = self.splice(self.master).inner(frame, self.now)
        verdict, _ = self.splice(self.new.daemon).inner(answer, self.now)
        return verdict.reason, verdict.slot

    def die(self) -> None:
        self.old.dead = True
        self.new.daemon.take_over(wire.TakeOverOrder())


@pytest.fixture
def slaves() -> Iterator[SlavePlace]:
    place = SlavePlace()
    yield place
    place.places.stop()


def test_a_slaves_standby_asks_with_hints(slaves: SlavePlace) -> None:
    for port in range(8):
        slaves.open(port)
    slaves.follow()
    health = slaves.new.daemon.health()
    assert (health.status, health.standby.state, health.standby.lag) == ("ok", "following", 0.0)
    slaves.die()
    assert slaves.new.daemon.health().standby.state == "taking_over"
    assert slaves.reply(0)[0] == "drop_take_over", "not before its master has greeted it"
    slaves.places.look()
    slaves.master.tick()
    health = slaves.new.daemon.health()
    assert (health.standby.state, health.peer.connected, health.slave_term) == ("active", True, 1)
    assert (slaves.places.url, slaves.places.other_url) == ("new", "old")
    assert slaves.master.health().slave_term == 1
    pins = slaves.pins(slaves.master)
    for port in range(8):
        reason, frame = slaves.reply(port)
        assert reason == "hint_sent", "no lease of the former one counts"
        reason, _ = slaves.asked(frame)
        assert reason == "to_chain"
        assert slaves.reply(port)[0] == "to_chain", "it has a lease of its own"
    assert {key: pin.slot for key, pin in slaves.pins(slaves.new.daemon).items()} == {
        key: pin.slot for key, pin in pins.items()
    }


def test_what_never_reached_it_is_asked_for(slaves: SlavePlace) -> None:
    slaves.follow()
    slaves.open(3)
    ((key, pin),) = slaves.pins(slaves.master).items()
    slaves.die()
    slaves.places.look()
    slaves.master.tick()
    reason, frame = slaves.reply(3)
    assert reason == "ask_sent"
    assert slaves.asked(frame) == ("to_chain", pin.slot)
    assert slaves.pins(slaves.new.daemon)[key].slot == pin.slot


def test_a_chain_set_that_it_missed_comes_with_the_greeting(slaves: SlavePlace) -> None:
    """What came out of a chain that is closed by now is no lease."""
    frame = slaves.open(1)
    slaves.follow()
    ((_, pin),) = slaves.pins(slaves.master).items()
    tags = next(pair.tags for pair in slaves.master.table.pairs if pair.slot == pin.slot)
    slaves.master.change(wire.Change(remove=[wire.Tags(forward=tags.forward, reverse=tags.reverse)]))
    slaves.master.end_sessions(tags, "rebalance")
    slaves.die()
    slaves.splice(slaves.new.daemon).inner(frame, slaves.now)  # it was in the chain for long
    slaves.places.look()
    slaves.master.tick()
    assert slaves.new.daemon.table.epoch == slaves.master.table.epoch
    reason, ask = slaves.reply(1)
    assert reason == "ask_sent"
    assert slaves.asked(ask)[1] != pin.slot


def test_the_slave_whose_place_was_taken_is_told(slaves: SlavePlace) -> None:
    slaves.follow()
    slaves.die()
    slaves.places.look()
    slaves.master.tick()
    slaves.old.dead = False
    slaves.places.look()
    health = slaves.slave.health()
    assert not health.peer.connected
    assert "a standby took the place of this slave (term 1, not 0)" in (health.peer.reason or "")
    assert slaves.places.url == "new"
    with pytest.raises(Conflict, match="no older than 0: refused"):
        slaves.new.daemon.dismiss(wire.Dismissal(slave_id=slaves.new.daemon.instance, slave_term=0))
    with pytest.raises(Conflict, match="not another: refused"):
        slaves.slave.dismiss(wire.Dismissal(slave_id="another", slave_term=9))


def test_a_slaves_standby_is_not_greeted_before(slaves: SlavePlace) -> None:
    slaves.follow()
    slaves.master._peer = slaves.new
    slaves.master.tick()
    assert "new stands by for old: see --peer here" in (slaves.master.health().peer.reason or "")
    greeting = wire.Handshake(
        protocol=wire.PROTOCOL,
        master_id="m",
        slave_id=slaves.new.daemon.instance,
        ask_id=4094,
        affinity="session",
        timeouts=wire.TimeoutsModel(),
        chain_set=slaves.master.pairs(),
    )
    with pytest.raises(Conflict, match="stands by for old: greet that one"):
        slaves.new.daemon.handshake(greeting)


def test_processes_that_are_started_anew_know_who_is_the_slave(slaves: SlavePlace) -> None:
    """The new slave's does not know its term any more, and a master's begins at the old address."""
    slaves.open(1)
    slaves.follow()
    slaves.die()
    slaves.places.look()
    slaves.master.tick()
    again = slaves.stand_by_slave(slaves.new.daemon._plane)
    slaves.new.daemon = again
    assert (again.health().standby.state, again.health().slave_term) == ("active", 1)
    places = Places("main", slaves.old, slaves.new)
    places.look()
    assert places.url == "new"
    places.stop()
    slaves.old.dead = False
    slaves.places.look()
    assert slaves.stand_by_slave(again._plane).health().standby.state == "active"


FOLLOWING = wire.StandbyHealth(of="there", state="following", silent=0.0)


@pytest.mark.parametrize(
    ("known", "there", "verdict"),
    [
        (0, health_of(slave_term=1), "move"),
        (1, health_of(slave_term=1), None),
        (1, health_of(), "dismiss"),
        (0, health_of(), None),
        (1, health_of(slave_term=2, standby=FOLLOWING), None),
        (0, health_of(slave_term=1, role="master"), None),
        (0, health_of(slave_term=1, segment="dmz"), None),
    ],
)
def test_where_the_slave_is(known: int, there: wire.BalancerHealth, verdict: str | None) -> None:
    assert judged("main", known, there) == verdict


def test_a_call_under_way_is_given_up_when_the_slave_moves(slaves: SlavePlace) -> None:
    """A machine that is gone does not answer, for as long as a caller has patience."""
    released, entered = threading.Event(), threading.Event()

    def hang() -> wire.BalancerHealth:
        entered.set()
        released.wait()
        raise Unavailable("no answer")

    slaves.old.health = hang  # type: ignore[attr-defined]
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(slaves.places.health)
        entered.wait()
        slaves.new.daemon.take_over(wire.TakeOverOrder())
        slaves.places.look()
        with pytest.raises(Unavailable, match="old was given up: its standby has taken its place"):
            asked.result()
        released.set()


def test_a_slave_has_no_slave_to_look_for() -> None:
    words = [
        "lb",
        "run",
        "--role",
        "slave",
        "--outer",
        "a",
        "--inner",
        "b",
        "--peer-standby",
        "http://127.0.0.1:9",
    ]
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, InvalidValue)
    assert "--peer-standby is for a master" in str(error)
