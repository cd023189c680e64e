"""One splice set up alike in the oracle, in the C core and in BPF, for tests that compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_network

from catenary.chain import PairState
from catenary.classifier import Rule
from catenary.session import SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter.core.check import Core, CSplice
from lb_adapter.core.oracle_pin import Story
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.probes import PASSING
from lb_adapter.core.setup import Order, Setup, Verdict
from lb_adapter.core.splices import BpfSplice, Choice, runnable, shown, tagged
from lb_adapter.dataplane.base import Affinity, Policy, Role

ASK = 4094
PAIRS = (TagPair(3001, 3002), TagPair(3003, 3004), TagPair(3005, 3006), TagPair(3007, 3008))
STATES = (PairState.ACTIVE, PairState.ACTIVE, PairState.COOLING, PairState.CLOSED)
RULES = (
    Rule(0, ip_network("10.0.0.0/25"), protocol=6, ports=(80, 999)),
    Rule(1, server=ip_network("fd00::c8/128")),
    Rule(2, client=ip_network("::/0"), protocol=17),
    Rule(3, vlan=100),
    Rule(5, ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8"), 132, (0x100, 0x100)),
)
"""A classifier that parts the frames of tests/frames.py."""
PROBES = (IPv4Address("10.0.0.1"), IPv4Address("192.0.2.7"))
"""Two of the hosts there."""
GENERATION = 1
LONG = Timeouts(lease=3600, tcp_established=7440)


def choose(
    role: Role,
    affinity: Affinity = "session",
    policy: Policy = "maglev",
    *,
    passing: bool = False,
    probed: bool = False,
) -> Choice:
    """Two chains that are active, one that cools down, and one that is closed, or the bypass of `RULES`."""
    states, rules = (PASSING, RULES) if passing else (STATES, ())
    probes = PROBES if probed else None
    return Choice(role, PAIRS, states, LONG, ASK, affinity, policy, rules=rules, probes=probes)


def setup(
    role: Role,
    affinity: Affinity = "session",
    policy: Policy = "maglev",
    *,
    passing: bool = False,
    probed: bool = False,
) -> Setup:
    return choose(role, affinity, policy, passing=passing, probed=probed).setup()


@dataclass(frozen=True)
class Step:
    """A frame into the outer port, or, tagged with `vid`, into the inner one; `wait` ms after the last.

    Where endpoints are plain, `endpoint` is one of the outer side, or `slot` one of the inner.
    """

    frame: bytes
    vid: int | None = None
    beside: int | None = None
    wait: int = 0
    endpoint: int = 0
    slot: int | None = None


def told_of(story: Story | None) -> Story | None:
    """What can be compared: an order moves sessions one after the other, each in its own sequence."""
    return story._replace(load=0) if story is not None and story.cause == "moved" else story


def all_told(ended: list[tuple[bytes, str, Story]]) -> list[tuple[bytes, str, Story | None]]:
    return sorted(((key, why, told_of(story)) for key, why, story in ended), key=repr)


class Pairing:
    """The same steps through the oracle and the C core, which must agree on everything."""

    def __init__(self, core: Core, setup: Setup) -> None:
        self.oracle, self.c = Splice(setup), core.splice(setup)
        self.now = 1_000_000

    def step(self, step: Step) -> tuple[Verdict, bytes]:
        self.now += step.wait
        if step.slot is not None:
            ours = self.oracle.inner(step.frame, self.now, step.beside, slot=step.slot)
            theirs = self.c.inner(step.frame, self.now, step.beside, slot=step.slot)
        elif step.vid is None:
            ours = self.oracle.outer(step.frame, self.now, step.beside, endpoint=step.endpoint)
            theirs = self.c.outer(step.frame, self.now, step.beside, endpoint=step.endpoint)
        else:
            frame = tagged(step.vid, step.frame)
            ours, theirs = self.oracle.inner(frame, self.now), self.c.inner(frame, self.now)
        assert theirs == ours, (step, ours, theirs)
        return ours

    def walk(self) -> None:
        self.oracle.walk(self.now)
        self.c.walk(self.now)

    def sweep(self, order: Order) -> None:
        assert self.c.sweep(order, self.now) == self.oracle.sweep(order, self.now), order

    def check_state(self) -> None:
        """Every pin, fragment, counter and load."""
        oracle, c = self.oracle, self.c
        assert {key: c.word(key) for key in oracle.pins} == {k: pin.word() for k, pin in oracle.pins.items()}
        noted = {key: c.word(key, fragment=True) for key in oracle.fragments}
        assert noted == {key: pin.word() for key, pin in oracle.fragments.items()}
        assert c.counts == {name: count for name, count in oracle.counts.items() if count}
        assert c.overflow == oracle.overflow
        assert c.entered == {entry: count for entry, count in oracle.entered.items() if count}
        told = {key: told_of(c.story(key)) for key in oracle.pins}
        assert told == {key: told_of(oracle.stories[key]) for key in oracle.pins}
        assert all_told(c.ended) == all_told(oracle.ended)
        assert {slot: c.load(slot) for slot in oracle.setup.slots} == {
            slot: oracle.loads[slot] for slot in oracle.setup.slots
        }


class Trio:
    """The same frames through all three, over one BPF object and one C table, cleared for each sequence."""

    def __init__(self, core: Core, bpf: BpfSplice) -> None:
        self._core, self._bpf = core, bpf
        self._ready: dict[Choice, CSplice] = {}

    def run(self, choice: Choice, steps: list[Step], orders: Sequence[Order] = ()) -> None:
        """After some of the steps comes one of the orders, which must not depend on the clock."""
        made = choice.setup()
        if choice not in self._ready:
            self._ready[choice] = self._core.splice(replace(made, capacity=256))
        oracle, c = Splice(made), self._ready[choice]
        c.clear()
        self._bpf.configure(choice)
        try:
            for number, step in enumerate(steps):
                self._step(oracle, c, step)
                if orders and number % 9 == 4:
                    self._sweep(oracle, c, orders[number // 9 % len(orders)])
            self._compare_tables(oracle, c)
        finally:
            self._bpf.forget(list(oracle.pins), list(oracle.fragments))

    def _sweep(self, oracle: Splice, c: CSplice, order: Order) -> None:
        now, swept = 1_000_000, self._bpf.plane.sweep(order)
        assert (swept.reset, swept.moved) == oracle.sweep(order, now) == c.sweep(order, now), order

    def _step(self, oracle: Splice, c: CSplice, step: Step) -> None:
        now = 1_000_000
        frame = step.frame if step.vid is None else tagged(step.vid, step.frame)
        if step.vid is None:
            ours, theirs = oracle.outer(frame, now), c.outer(frame, now)
        else:
            ours, theirs = oracle.inner(frame, now), c.inner(frame, now)
        assert theirs == ours, (step, ours, theirs)
        if not runnable(frame) or (step.vid is not None and len(frame) < 18):
            return
        verdict, out = self._bpf.outer(frame) if step.vid is None else self._bpf.inner(frame)
        verdict, expected = replace(verdict, slot=ours[0].slot), ours[1]
        if verdict.reason == "drop_internal" and step.vid is not None and len(frame) < 22:
            # The kernel could not pop a tag with half a second one behind it.
            verdict = replace(verdict, reason=ours[0].reason)
        expected = shown(expected, ours[0].port, inner=step.vid is not None)
        assert (verdict, out) == (ours[0], expected), step

    def _compare_tables(self, oracle: Splice, c: CSplice) -> None:
        """All but the time of each pin."""
        for key, pin in oracle.pins.items():
            assert c.word(key) == pin.word()
            assert told_of(c.story(key)) == told_of(oracle.stories[key]), SessionKey.unpack(key)
            assert self._bpf.word(key) >> 32 == pin.word() >> 32, SessionKey.unpack(key)
        for key, pin in oracle.fragments.items():
            assert c.word(key, fragment=True) == pin.word()
            assert self._bpf.word(key, fragment=True) >> 32 == pin.word() >> 32
