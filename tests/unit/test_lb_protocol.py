"""The pair's protocol played: two pure machines, and a network that loses, doubles, delays and reorders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catenary.chain import PairState
from catenary.errors import Conflict
from catenary.tags import TagPair
from lb_adapter import balancer, following, peering, talk
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.dataplane.base import TakeOver
from tests.unit.test_lb_peering import ASK, PROTOCOL, TAGS, D, added, hello, leader


def chain_of(pair: Pair) -> tuple[TagPair, int, int]:
    return pair.tags, pair.slot, pair.generation


class Protocol(RuleBasedStateMachine):
    """A master and a slave that restart at any point; every message is kept, and may come again.

    A session has its pin here when it is opened, and at the slave when its first packet has come out of the
    chain, up to D later. `holds`: our data plane places nothing.
    """

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.masters = 1
        self.plane, self.holds = ChainTable(), True
        self.leader = leader(instance="m1", rewrites=True, hold=0.0)
        self.slaves = 1
        self.follower = following.Follower("main", "s1", ChainTable())
        self.sent: list[tuple[talk.Greet | talk.Tell, Callable[[], object]]] = []
        self.answers: list[talk.Said] = []
        self.opened = 0
        self.here: set[int] = set()
        self.there: dict[int, tuple[float, tuple[TagPair, int, int]]] = {}
        self.author: str | None = None
        self.contents: dict[tuple[str | None, int], object] = {}
        self.drive(talk.Ticked({}), [])
        self.drive(talk.Propose(added(self.leader.table, TAGS[0])), [])

    def carry_out(self, act: talk.Act, arrives: bool, answered: bool) -> talk.Said | None:
        match act:
            case talk.Look():
                seen = talk.Seen(f"s{self.slaves}", self.follower.table.epoch, self.follower.master)
                return seen if arrives and answered else talk.Failed("lost")
            case talk.Greet() | talk.Tell():
                deliver = self.delivery(act)
                self.sent.append((act, deliver))
                if not arrives:
                    return talk.Failed("lost")
                try:
                    deliver()
                except Conflict as refusal:
                    return talk.Failed(refusal.detail)
                return talk.Accepted(f"s{self.slaves}", act.table.epoch) if answered else talk.Failed("")
            case talk.Adopt():
                self.plane, self.author = act.table, self.leader.instance
                return talk.Adopted()
            case talk.Count():
                return talk.Counted(self.follower.table.epoch, {}, {})
            case talk.FetchChains():
                return talk.Chains(self.follower.table) if arrives and answered else talk.Failed("lost")
            case talk.FetchPins():
                return self.copy(act.since_ms) if arrives and answered else talk.Failed("cut")
            case talk.SetTakeOver():
                self.holds = act.state is TakeOver.HOLD
            case talk.Exchange():
                return talk.Exchanged(0, 0, act.begun) if arrives and answered else talk.Failed("lost")
        return None

    def copy(self, since_ms: int | None) -> talk.Copied:
        now_ms, known = round(self.now * 1000), set(map(chain_of, self.leader.table.pairs))
        for number, (learned, chain) in self.there.items():
            new = since_ms is None or learned * 1000 >= since_ms
            if new and learned <= self.now and chain in known:
                self.here.add(number)
        return talk.Copied(since_ms, now_ms)

    def delivery(self, act: talk.Greet | talk.Tell) -> Callable[[], None]:
        master, table = self.leader.instance, act.table

        def deliver() -> None:
            if isinstance(act, talk.Greet):
                greeting = hello(master=master, slave=act.slave, table=table)
                self.follower = following.greeted(self.follower, greeting, PROTOCOL)
            else:
                self.follower = following.told(self.follower, "main", master, table, ASK)

        return deliver

    def drive(self, message: talk.Said, fates: list[tuple[bool, bool]]) -> None:
        waiting = [message]
        while waiting:
            self.leader, todo = peering.step(self.leader, waiting.pop(0), self.now)
            for act in todo:
                arrives, answered = fates.pop() if fates else (True, True)
                answer = self.carry_out(act, arrives, answered)
                waiting += [answer] if answer is not None else []
                if isinstance(answer, talk.Chains | talk.Copied | talk.Accepted | talk.Adopted):
                    self.answers.append(answer)

    FATES = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4)

    @rule(fates=FATES, wait=st.sampled_from((0.1, 5.0)))
    def tick(self, fates: list[tuple[bool, bool]], wait: float) -> None:
        self.now += wait
        self.drive(talk.Ticked({}), list(fates))

    @precondition(lambda self: self.leader.connected)
    @rule(fates=FATES, tags=st.sampled_from(TAGS))
    def change(self, fates: list[tuple[bool, bool]], tags: TagPair) -> None:
        table, now = self.leader.table, self.now
        pair = next((pair for pair in table.pairs if pair.tags == tags), None)
        verb = {None: "add", PairState.ACTIVE: "remove", PairState.DRAINED: "forget"}
        state = None if pair is None else pair.state
        what: Any = {verb[state]: [(tags, 100)] if pair is None else [tags]} if state in verb else {}
        changed = balancer.change(replace(table, resting={}), **what, ask_id=ASK, now=now, transit=D)
        if changed.epoch != table.epoch:
            self.drive(talk.Propose(changed), list(fates))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def an_old_message_arrives(self, data: st.DataObject) -> None:
        act, deliver = data.draw(st.sampled_from(self.sent))
        try:
            deliver()
        except Conflict:
            return
        assert isinstance(act, talk.Tell) or act.slave == self.follower.instance, "said to another process"

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), fates=FATES)
    def an_answer_comes_late_or_twice(self, data: st.DataObject, fates: list[tuple[bool, bool]]) -> None:
        self.drive(data.draw(st.sampled_from(self.answers)), list(fates))

    def open_sessions(self, through: list[float]) -> None:
        """One on each chain for each of these times that its first packet takes through it.

        A slave that has lost its table, and was not greeted since, does not know the chain.
        """
        takers = [pair for pair in self.plane.pairs if pair.state is PairState.ACTIVE]
        known = set(map(chain_of, self.follower.table.pairs))
        for pair, seconds in product(() if self.holds else takers, through):
            self.opened += 1
            self.here.add(self.opened)
            if chain_of(pair) in known:
                self.there[self.opened] = self.now + seconds, chain_of(pair)

    @rule()
    def the_master_restarts(self) -> None:
        """Without a chain set it can't know of sessions, either."""
        self.masters += 1
        self.answers.clear()
        self.holds = self.holds or not self.plane.epoch
        hold = self.now if self.holds else None
        self.leader = leader(instance=f"m{self.masters}", table=self.plane, rewrites=True, hold=hold)

    @rule(through=st.lists(st.sampled_from((0.0, 0.3, 0.95 * D)), min_size=1, max_size=2))
    def the_master_loses_its_table(self, through: list[float]) -> None:
        self.open_sessions(through)
        self.plane, self.author = ChainTable(), None
        self.here.clear()
        self.contents.pop((None, 0), None)
        self.the_master_restarts()

    @rule()
    def the_slave_restarts(self) -> None:
        self.slaves += 1
        self.follower = following.Follower("main", f"s{self.slaves}", self.follower.table)
        self.contents.pop((None, self.follower.table.epoch), None)  # whose it is, it forgot

    @rule()
    def the_slave_loses_its_table(self) -> None:
        """What only it knew is lost; what is under way finds no chain there."""
        self.slaves += 1
        self.follower = following.Follower("main", f"s{self.slaves}", ChainTable())
        self.there.clear()

    @invariant()
    def nothing_is_placed_before_all_is_copied(self) -> None:
        """Rule 8: all that the lost table had let through, what was under way too, if its chain is left."""
        if not self.holds:
            assert self.leader.hold is None
            known = set(map(chain_of, self.follower.table.pairs)) & set(map(chain_of, self.plane.pairs))
            left = {number for number, (_, chain) in self.there.items() if chain in known}
            assert left <= self.here

    @invariant()
    def an_epoch_of_a_master_is_one_chain_set(self) -> None:
        both = ((self.author, self.plane), (self.follower.master, self.follower.table))
        for master, table in both:
            content = tuple((pair.tags, pair.slot, pair.generation, pair.state) for pair in table.pairs)
            assert self.contents.setdefault((master, table.epoch), content) == content

    @invariant()
    def the_slave_knows_what_the_master_uses(self) -> None:
        """Each generation that the master places on is known to a slave that follows it."""
        if self.leader.connected and self.follower.master == self.leader.instance:
            used = {(pair.slot, pair.generation) for pair in self.plane.pairs}
            known = {(pair.slot, pair.generation) for pair in self.follower.table.pairs}
            behind = self.follower.table.epoch < self.plane.epoch
            assert behind or used <= known | self.forgotten()

    def forgotten(self) -> set[tuple[int, int]]:
        """What the slave forgot already, and the master was to forget next."""
        return {(p.slot, p.generation) for p in self.plane.pairs if p.state is PairState.DRAINED}

    def teardown(self) -> None:
        """Without losses they agree within two ticks and D, whatever was before; a copy takes two more."""
        for _ in range(4 if self.holds else 2):
            self.now += D
            self.drive(talk.Ticked({}), [])
        assert not self.holds
        assert self.leader.connected, self.leader.reason
        assert self.follower.table.epoch == self.plane.epoch == self.leader.table.epoch
        assert self.follower.master == self.leader.instance


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=200, stateful_step_count=40)
