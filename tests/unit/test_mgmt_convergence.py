"""Whatever is asked for, lost, refused or killed, in any order: in the end the parts hold what is recorded.

A state machine drives the real engine and manager on fakes. Calls fail before or after they took effect,
parts restart empty, and the process dies at a random crash point and starts again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from catenary.chain import PairState
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from mgmt_system.crash import CrashPoint
from tests.unit.mgmt_fakes import Site

NFS = ("n1", "n2", "n3", "shared", "lonely")


class Killed(BaseException):
    """What a crash looks like here."""


def kill_at(at: int) -> CrashPoint:
    passed = itertools.count(1)

    def crash_point(what: str) -> None:
        if next(passed) == at:
            raise Killed(what)

    return crash_point


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.site = Site()
        unsteer = self.site.controller.unsteer

        def guarded(name: str) -> None:
            self.check_nothing_is_cut(name)
            unsteer(name)

        self.site.controller.unsteer = guarded  # type: ignore[method-assign]

    def check_nothing_is_cut(self, name: str) -> None:
        """Switch rules go last: not while a load balancer may still send into the chain."""
        steered = self.site.controller.steered.get(name)
        held = self.site.master.states.get(steered.tags.pair()) if steered else None
        assert held in (None, PairState.DRAINED), f"{name} lost its rules while its pair was {held}"

    def teardown(self) -> None:
        self.mend()
        self.site.master.sessions.clear()
        self.site.slave.sessions.clear()
        self.site.settle(60)
        self.check_settled()
        self.site.close()

    def attempt(self, call: Callable[[], object]) -> None:
        """A refusal is an answer, and a death is what the next process is for."""
        with suppress(Conflict, InvalidValue, NotFound, Killed):
            call()

    @initialize(count=st.integers(0, 3))
    def begin(self, count: int) -> None:
        for nf in NFS[:count]:
            self.site.add(nf)
            self.site.settle()

    @rule(nf=st.sampled_from(NFS))
    def add(self, nf: str) -> None:
        self.attempt(lambda: self.site.add(nf))

    @rule(which=st.integers(0, 3), force=st.booleans(), deadline=st.sampled_from((None, None, 0.0, 5.0)))
    def remove(self, which: int, force: bool, deadline: float | None) -> None:
        names = [chain.name for chain in self.site.manager.chains()] or ["chain-1"]
        name, then = names[which % len(names)], None if deadline is None else "reset"
        remove = self.site.manager.remove
        self.attempt(lambda: remove(name, force=force, deadline=deadline, then=then))  # type: ignore[arg-type]

    @rule(which=st.integers(0, 3))
    def cancel(self, which: int) -> None:
        names = [chain.name for chain in self.site.manager.chains()] or ["chain-1"]
        self.attempt(lambda: self.site.manager.cancel(names[which % len(names)]))

    @rule(which=st.integers(0, 3), force=st.booleans(), back=st.booleans())
    def cordon(self, which: int, force: bool, back: bool) -> None:
        names = [chain.name for chain in self.site.manager.chains()] or ["chain-1"]
        name = names[which % len(names)]
        manager = self.site.manager
        with suppress(Unavailable):
            self.attempt(lambda: manager.uncordon(name) if back else manager.cordon(name, force=force))

    @rule()
    def step(self) -> None:
        self.site.step()

    @rule(at=st.integers(1, 12))
    def be_killed(self, at: int) -> None:
        self.site.restart(kill_at(at))
        self.attempt(self.site.step)
        self.site.restart()

    @rule(call=st.sampled_from(["steer", "unsteer", "change", "end_sessions"]), after=st.booleans())
    def lose_calls(self, call: str, after: bool) -> None:
        """In this pass such a call fails: before it took effect, or after."""

        def fault(name: str, done: bool) -> None:
            if (name, done) == (call, after):
                raise Unavailable(f"{name} timed out")

        part = self.site.master if call == "change" else self.site.controller
        part.fault = fault
        self.site.step()
        part.fault = lambda call, after: None

    @rule(part=st.sampled_from(["controller", "master", "slave"]))
    def go_down(self, part: str) -> None:
        getattr(self.site, part).down = True

    @rule(part=st.sampled_from(["controller", "master"]))
    def restart_empty(self, part: str) -> None:
        getattr(self.site, part).restart_empty()

    @rule(sessions=st.integers(0, 3))
    def load(self, sessions: int) -> None:
        for balancer in (self.site.master, self.site.slave):
            balancer.sessions = dict.fromkeys(balancer.states, sessions)

    @rule()
    def calm_down(self) -> None:
        """With all parts back, two passes are enough: every chain that may hold sessions has its rules."""
        self.mend()
        self.site.step()
        self.site.step()
        for stored in self.site.ledger.chains():
            if stored.record.state in ("active", "cooling"):
                assert stored.record.name in self.site.controller.steered

    def mend(self) -> None:
        for part in (self.site.controller, self.site.master, self.site.slave):
            part.down = False
        self.site.restart()

    @invariant()
    def tags_and_names_are_never_shared(self) -> None:
        live = [stored.record for stored in self.site.ledger.chains() if stored.record.live]
        used = [vid for record in live for vid in record.chain.tags.ids]
        assert len(used) == len(set(used))
        assert len(live) == len({record.name for record in live})

    def check_settled(self) -> None:
        records = [stored.record for stored in self.site.ledger.chains()]
        assert all(record.settled for record in records)
        active = {record.name: record.chain.tags for record in records if record.state == "active"}
        assert set(self.site.controller.steered) == set(active)
        for balancer in (self.site.master, self.site.slave):
            assert balancer.states == dict.fromkeys(active.values(), PairState.ACTIVE)
        for record in records:
            if record.state == "active":
                assert self.site.master.weights[record.chain.tags] == record.chain.weight
        running = [item for item in self.site.manager.operations() if item.state == "running"]
        assert running == []


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=25)
