"""The rules of affinity under hypothesis: it sends, delays, reorders, loses, waits and changes chains.

The daemons are the real ones over the oracle, hosts and chains are those of the simulator; nothing moves by
itself. What is found shrinks to the fewest steps.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from catenary import wire
from catenary.chain import PairState
from catenary.errors import CatenaryError
from catenary.session import End
from catenary.tags import TagPair
from experiments.chaos.judge import SIDES
from experiments.chaos.rules import ALL_ON, RULES, Rule
from experiments.chaos.world import TIMEOUTS, MakePlane, Options, World
from lb_adapter.core.oracle import TCP, UDP
from lb_adapter.core.oracle_pin import ACK, FIN, RST, SYN, Pin, State, age, leased
from lb_adapter.core.oracle_splice import Splice

POOL = (TagPair(2, 3), TagPair(4, 5), TagPair(6, 7))
D, LEASE = round(1000 * TIMEOUTS.transit), round(1000 * TIMEOUTS.lease)
WAITS = sorted({1, D // 2, D, LEASE - 1, LEASE, 2 * D, 4 * D, 200, 300, 400, 550, 650, 899, 900, 1150})
"""ms: around every timeout, and sums of them."""


class StillWorld(World):
    """Packets lie where they are until somebody moves them, for D at most."""

    def __init__(self, options: Options, make: MakePlane) -> None:
        self.under_way: list[tuple[int, Callable[[], None]]] = []
        super().__init__(options, make)

    def later(self, delay: int, call: Callable[[], None], *, control: bool = False) -> None:
        self.under_way.append((self.now, call))

    def go_on(self, span: int) -> None:
        """Hypothesis moves the packets."""


class Affinity(RuleBasedStateMachine):
    held: Rule = ALL_ON

    @initialize(policy=st.sampled_from(("maglev", "p2c")), seed=st.integers(0, 7))
    def begin(self, policy: str, seed: int) -> None:
        options = Options(seed, policy=policy, loss=0.0, control_loss=0.0)  # type: ignore[arg-type]
        self.world = StillWorld(options, self.held.make)
        self.tick()
        for tags in POOL[:2]:
            self.add(tags)
        server, far = End(IPv4Address("10.0.0.2"), 80), End(IPv4Address("10.0.0.3"), 53)
        near = [End(IPv4Address("10.0.0.1"), port) for port in (1000, 1001)]
        self.lines = [self.world.line(near[0], server, TCP), self.world.line(near[1], far, UDP)]

    def tick(self) -> None:
        self.world.slave.tick()
        self.world.master.tick()

    def add(self, tags: TagPair) -> None:
        self.world.steer(tags).deaf = 0
        self.world.master.change(wire.Change(add=[wire.PairAdd(forward=tags.forward, reverse=tags.reverse)]))

    # -- hosts and links -----------------------------------------------------------------------------------

    @rule(line=st.integers(0, 1), side=st.sampled_from(SIDES), flags=st.sampled_from((ACK, FIN | ACK, RST)))
    def send(self, line: int, side: int, flags: int) -> None:
        self.world.send(self.lines[line], side, flags)

    @rule(side=st.sampled_from(SIDES), fresh=st.booleans())
    def open(self, side: int, fresh: bool) -> None:
        self.world.send(self.lines[0], side, SYN, fresh=fresh)

    @precondition(lambda self: self.world.under_way)
    @rule(which=st.integers(0, 10))
    def move(self, which: int) -> None:
        """A packet goes on; no chain reorders, but the bypass and other chains overtake."""
        _, call = self.world.under_way.pop(which % len(self.world.under_way))
        call()

    @precondition(lambda self: self.world.under_way)
    @rule()
    def move_all(self) -> None:
        for _ in range(8):
            if self.world.under_way:
                self.world.under_way.pop(0)[1]()

    @rule(span=st.sampled_from(WAITS))
    def wait(self, span: int) -> None:
        """What has been under way for D by then is lost: it may not come later."""
        self.world.now += span
        self.world.under_way = [(at, call) for at, call in self.world.under_way if self.world.now - at <= D]

    # -- chains and daemons --------------------------------------------------------------------------------

    @rule()
    def let_daemons_work(self) -> None:
        self.tick()

    @rule(tags=st.sampled_from(POOL))
    def change(self, tags: TagPair) -> None:
        pairs = {pair.pair(): pair.state for pair in self.world.master.pairs().pairs}
        named = wire.Tags.of(tags)
        with suppress(CatenaryError):  # an ID that rests, for one
            match pairs.get(tags):
                case None:
                    self.add(tags)
                case PairState.ACTIVE:
                    self.world.master.change(wire.Change(remove=[named]))
                case PairState.COOLING:
                    self.world.master.change(wire.Change(cancel=[named]))
                case PairState.DRAINED:
                    self.world.master.change(wire.Change(forget=[named]))
                    self.world.unsteer(tags)

    @rule(slave=st.booleans())
    def restart(self, slave: bool) -> None:
        (self.world.restart_slave if slave else self.world.restart_master)()
        self.tick()

    @rule()
    def lose_the_slaves_table(self) -> None:
        self.world.lose_slave()
        self.tick()

    # -- what must hold ------------------------------------------------------------------------------------

    @invariant()
    def no_session_crosses_two_chains(self) -> None:
        assert not self.world.outcome.broken, self.world.outcome.broken[0]

    @invariant()
    def a_valid_lease_means_a_pin_that_lives_for_another_tau(self) -> None:
        master, slave = (self.world.planes[role].splice for role in ("master", "slave"))
        assert master is not None
        assert slave is not None
        times = master.setup.times
        for raw, lease in slave.pins.items():
            if slave._in_force(lease, self.world.now) and leased(lease, self.world.now, times):
                pin = master.pins.get(raw)
                assert pin is not None
                assert hold(pin, master) - age(pin, self.world.now) >= times.promised(pin.state)


def hold(pin: Pin, master: Splice) -> int:
    """T of a pin, ms."""
    times = master.setup.times
    late = 2 * times.transit if pin.state is State.CLOSING else 0
    return times.promised(pin.state) + times.lease + 2 * times.transit + late


TestAffinity = Affinity.TestCase
TestAffinity.settings = settings(max_examples=150, stateful_step_count=60)


@pytest.mark.parametrize("name", ["hold", "one-writer", "both-directions"])
def test_it_sees_a_rule_that_is_off(name: str) -> None:
    class Broken(Affinity):
        held = RULES[name]

    quick = settings(max_examples=3000, stateful_step_count=60, phases=[Phase.generate], database=None)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=quick)  # type: ignore[no-untyped-call]
