"""The reconcile loop: a thread that asks `reconcile` for the next step of each chain and does it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from catenary import wire
from catenary.chain import ChainState
from catenary.config import SegmentConfig
from catenary.errors import CatenaryError, InvalidValue, NotFound
from mgmt_system import adoption, orders, together
from mgmt_system.cooldown import Activity, judge
from mgmt_system.current import Current
from mgmt_system.peers import CONTROLLER, Balancer, Peers
from mgmt_system.reconcile import (
    REFUSALS,
    Action,
    Become,
    Do,
    Sight,
    Step,
    conclude,
    decide,
    outlook,
    refused,
    succeeded,
)
from mgmt_system.records import ChainRecord, Goal
from mgmt_system.store.ledger import Ledger, StoredChain
from mgmt_system.world import Fault, World

BUSY = 0.2
"""Seconds between passes while a chain is on its way."""
IDLE = 1.0
"""Seconds between passes, and the age of what was seen, while nothing happens."""
ROUNDS = 8
"""Steps of one chain in a pass: no chain needs more, and none may keep the others waiting."""


class Waiting(Exception):
    """A chain can't go on in this pass; the text is the reason that the operator sees."""


@dataclass(frozen=True)
class _Task:
    """A step that is due."""

    stored: StoredChain
    step: Do | Become

    @property
    def record(self) -> ChainRecord:
        return self.stored.record

    @property
    def action(self) -> Action:
        """That of a step which is a call."""
        assert isinstance(self.step, Do)
        return self.step.action


class Engine:
    """Moves every chain towards its goal. `settle` is one pass; `run` repeats it until `stop`.

    `clock` gives seconds since the epoch; `monotonic` only measures. Raises `InvalidValue` when a chain on
    record belongs to a segment that the network file does not have.
    """

    def __init__(
        self,
        ledger: Ledger,
        peers: Peers,
        world: World,
        network: Current,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._peers = peers
        self._world = world
        self._network = network
        self._clock = clock
        self._monotonic = monotonic
        self._looked = float("-inf")
        self._reasons: dict[str, str] = {}
        self._held: dict[str, str] = {}
        self._wake = threading.Event()
        self._stopping = False
        for stored in ledger.chains():
            if stored.record.segment not in network.segments:
                raise InvalidValue(
                    f"chain {stored.record.name!r} on record belongs to segment {stored.record.segment!r}, "
                    f"which the network file does not have: it has {', '.join(network.segments)}"
                )

    def run(self) -> None:
        """Settle until stopped. An unexpected error ends the loop: state is on disk, a restart goes on."""
        while not self._stopping:
            self._wake.clear()
            busy = self.settle()
            self._wake.wait(BUSY if busy else IDLE)

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def wake(self) -> None:
        """Settle at once: a request has come."""
        self._wake.set()

    def reason(self, record: ChainRecord) -> str | None:
        """Why a chain waits or failed."""
        return self._reasons.get(record.id) or record.failure

    def faults(self) -> dict[str, str]:
        """Why other parts can't be used at present, by name."""
        return self._world.faults()

    def settle(self) -> bool:
        """One pass over all chains; True while any of them is not where it shall be.

        What is asked for after the look waits for the next one: a pair may have been inserted in between.
        """
        asked = {(stored.record.id, stored.record.goal) for stored in self._ledger.chains()}
        self._look_if_due()
        reasons: dict[str, str] = {}
        self._held.clear()
        for _ in range(ROUNDS):
            tasks = self._tasks(asked, reasons)
            if not tasks:
                break
            for batch in orders.batches(tasks, lambda task: task.step, lambda task: task.record.segment):
                self._do(batch, reasons)
        reasons = self._held | reasons
        self._reasons = reasons
        unfinished = self._conclude()
        return bool(reasons) or unfinished or any(not item.record.settled for item in self._ledger.chains())

    def _conclude(self) -> bool:
        """End every apply whose chains are all done; True if any goes on."""
        applies = [
            item for item in self._ledger.operations() if (item.kind, item.state) == ("apply", "running")
        ]
        chains = self._ledger.chains() if applies else []
        unfinished = False
        for operation in applies:
            members = [stored for stored in chains if stored.record.operation == operation.id]
            records = [stored.record for stored in members]
            told = self._world.untold or self._world.told == self._network.revision
            if told and all(together.done(record, self._world.seen(record)) for record in records):
                ended = together.end(operation, records, self._clock(), self._world.untold)
                self._ledger.conclude(members, ended)
            else:
                unfinished = True
        return unfinished

    def _look_if_due(self) -> None:
        """A chain that only cools down is polled; for any other step the present state must be known."""
        polled = ChainState.COOLING, Goal.ABSENT
        records = [stored.record for stored in self._ledger.chains()]
        moving = any(not record.settled and (record.state, record.goal) != polled for record in records)
        now = self._monotonic()
        if moving or now - self._looked >= IDLE:
            self._world.look()
            self._looked = now

    def _tasks(self, asked: set[tuple[str, Goal]], reasons: dict[str, str]) -> list[_Task]:
        """The steps that are due, for chains that don't wait yet; fills in why the others wait."""
        tasks = []
        chains = self._ledger.chains()
        records = [stored.record for stored in chains]
        for stored in chains:
            record = stored.record
            if record.id in reasons or (record.id, record.goal) not in asked:
                continue
            peers = together.peers(record, records)
            if kept := together.stays(record, peers):
                self._ledger.advance(stored, kept, None)
                continue
            step = decide(record, self._world.seen(record), self._clock())
            held = together.hold(record, peers, reasons)
            if held is not None:  # another round may free it
                self._held[record.id] = held
                continue
            self._held.pop(record.id, None)
            reason = self._obstacle(record, step, records)
            if reason is not None:
                reasons[record.id] = reason
            elif isinstance(step, Do | Become):
                tasks.append(_Task(stored, step))
        return tasks

    def _obstacle(self, record: ChainRecord, step: Step, records: list[ChainRecord]) -> str | None:
        """Why a step can't be done now."""
        if isinstance(step, Become):
            return None
        if isinstance(step, Do):
            faults = [self._world.fault(service) for service in self._services(record, step.action)]
            faults += [self._world.untold] if step.action is Action.STEER else []
            fault = next((fault for fault in faults if fault is not None), None)
            others = [other for other in records if other.segment == record.segment and other.carrying]
            return fault or self._insertion(record, step.action, others)
        if step.reason is not None and self._world.seen(record).pair is Sight.UNKNOWN:
            return self._world.faults().get(self._segment(record).master, step.reason)
        return step.reason

    def _insertion(self, record: ChainRecord, action: Action, carrying: list[ChainRecord]) -> str | None:
        """Why a step has to wait for the insertion of its segment's pair; `carrying` are its chains that
        have sessions, oldest first."""
        segment, view = self._segment(record), self._world.segment(record.segment)
        match action:
            case Action.STEER if record in carrying:
                return adoption.forgotten(view, [other.name for other in carrying])
            case Action.ADD_PAIR if record.state is ChainState.STEERED or record not in carrying[:1]:
                return adoption.waits(segment, view)
        return None

    def _services(self, record: ChainRecord, action: Action) -> list[str]:
        segment = self._segment(record)
        if action in (Action.STEER, Action.UNSTEER):
            return [CONTROLLER]
        asks_both = action in (Action.POLL, Action.END)
        return [segment.master, segment.slave] if asks_both else [segment.master]

    def _segment(self, record: ChainRecord) -> SegmentConfig:
        return self._network.segments[record.segment]

    def _do(self, batch: list[_Task], reasons: dict[str, str]) -> None:
        """Do one step of one chain, or the same step of several chains of a segment in one call."""
        task = batch[0]
        try:
            if isinstance(task.step, Become):
                self._write(task.stored, task.record.become(task.step.state, self._clock()))
                return
            if task.step.action is Action.END and self._ended(task):
                return  # counted first: what follows may be long in coming
            self._act(batch)
        except (Fault, Waiting) as pause:
            reasons.update({item.record.id: str(pause) for item in batch})
        except REFUSALS as error:
            self._refuse(batch, error, reasons)
        else:
            for item in batch:
                self._write(item.stored, succeeded(item.record, item.action, self._clock()))

    def _refuse(self, batch: list[_Task], error: CatenaryError, reasons: dict[str, str]) -> None:
        if len(batch) > 1:
            # All of a change is refused for one bad part of it: find out which, and let what leaves wait.
            come = [item for item in batch if item.action in (Action.ADD_PAIR, Action.CANCEL)]
            for item in come or batch:
                self._do([item], reasons)
            return
        task = batch[0]
        after = task.record
        if isinstance(task.step, Do):
            after = refused(after, task.step.action, error)
        if after is task.record:
            reasons[after.id] = error.detail
        else:
            self._write(task.stored, after, error.detail)

    def _write(self, before: StoredChain, after: ChainRecord, refusal: str | None = None) -> None:
        """Record progress. If a request changed the chain meanwhile, the next round decides afresh."""
        operation = self._ledger.operation(after.operation) if after.operation else None
        ended = None
        if operation is not None:
            after, ended = conclude(after, operation, self._clock(), refusal)
        if after != before.record:
            self._ledger.advance(before, after, ended)

    def _act(self, batch: list[_Task]) -> None:
        """Make the call of a step, or of several that go together."""
        record = batch[0].record
        match batch[0].action:
            case Action.STEER:
                self._steer(record)
            case Action.UNSTEER:
                self._unsteer(record)
            case Action.POLL | Action.END:
                self._poll(record)
            case Action.WEIGH:
                self._weigh([item.record for item in batch])
            case _:
                self._change(batch)

    def _steer(self, record: ChainRecord) -> None:
        request = orders.steer_request(record)
        call = self._peers.controller.steer
        steered = self._world.call(CONTROLLER, f"steer {record.name}", lambda: call(record.name, request))
        self._world.learn_steered(record.name, steered)

    def _unsteer(self, record: ChainRecord) -> None:
        call = self._peers.controller.unsteer
        # Not found: it was done before a crash, or the chain never was steered.
        with suppress(NotFound):
            self._world.call(CONTROLLER, f"unsteer {record.name}", lambda: call(record.name))
        self._world.learn_steered(record.name, None)

    def _change(self, batch: list[_Task]) -> None:
        record = batch[0].record
        master = self._segment(record).master
        change = orders.change([(item.action, item.record) for item in batch])
        what = orders.told([(item.action, item.record) for item in batch])
        try:
            chain_set = self._world.call(master, what, lambda: self._peers.balancers[master].change(change))
        except NotFound as error:
            if len(batch) > 1 or batch[0].action is Action.ADD_PAIR:
                raise
            # The master does not know the pair: see so, and let the next step follow from that.
            self._world.learn_state(master, record.chain.tags, None)
            raise Waiting(error.detail) from error
        self._world.learn(master, chain_set)

    def _weigh(self, records: list[ChainRecord]) -> None:
        master = self._segment(records[0]).master
        weights = [orders.pair_add(record) for record in records]
        what = f"{Action.WEIGH} {', '.join(record.name for record in records)}"
        call = self._peers.balancers[master].rebalance
        self._world.learn(
            master, self._world.call(master, what, lambda: call(wire.Rebalance(weights=weights)))
        )

    def _poll(self, record: ChainRecord) -> None:
        """Raises `Waiting` unless the chain is drained."""
        segment = self._segment(record)
        master, slave = (self._ask(record, name) for name in (segment.master, segment.slave))
        self._world.learn_state(segment.master, record.chain.tags, master.state)
        verdict = judge(master, slave)
        if not verdict.drained:
            raise Waiting(verdict.reason + outlook(record, self._clock()))

    def _ended(self, task: _Task) -> bool:
        """Have the master end the sessions that are left; True if any more were, which is on record then."""
        record = task.record
        master = self._segment(record).master
        ending = wire.Ending(then=record.then or "reset")
        call = self._peers.balancers[master].end_sessions
        try:
            ended = self._world.call(
                master, f"end sessions {record.name}", lambda: call(record.chain.tags, ending)
            )
        except NotFound:  # the master restarted empty: there is nothing to end
            return False
        self._world.learn_state(master, record.chain.tags, ended.state)
        # A master counts for as long as it has the pair; it may have lost it once.
        after = replace(record, reset=max(record.reset, ended.reset), moved=max(record.moved, ended.moved))
        self._write(task.stored, after)
        return after != record

    def _ask(self, record: ChainRecord, name: str) -> Activity:
        balancer: Balancer = self._peers.balancers[name]
        try:
            answer = self._world.call(
                name, f"active? {record.name}", lambda: balancer.activity(record.chain.tags)
            )
        except NotFound:
            return Activity(name, None, False, 0)
        return Activity(name, answer.state, answer.active, answer.sessions)
