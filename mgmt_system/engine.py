"""The reconcile loop: a thread that asks `reconcile` for the next step of each chain and does it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import structlog

from catenary import request_id, wire
from catenary.chain import ChainState
from catenary.config import SegmentConfig
from catenary.errors import CatenaryError, NotFound, Unavailable
from mgmt_system import adoption, live, tasks, together
from mgmt_system.cooldown import Activity, judge
from mgmt_system.current import Current
from mgmt_system.journal import Event
from mgmt_system.peers import CONTROLLER, Peers
from mgmt_system.reconcile import (
    REFUSALS,
    Action,
    Become,
    Do,
    Sight,
    Step,
    Wait,
    conclude,
    decide,
    outlook,
    refused,
    serve,
    succeeded,
)
from mgmt_system.records import SELF, Author, ChainRecord, Goal
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.snapshot import Progress, Snapshot, StoredChain
from mgmt_system.tasks import Task
from mgmt_system.world import Fault, World

log = structlog.get_logger("mgmt_system")
BUSY = 0.2
"""Seconds between passes, and the age of what was seen, while a chain is on its way."""
IDLE = 1.0
"""The same while nothing happens, and always for what is where it shall be."""
REST = 4.0
"""No look follows another before so many times what that took: requests have work, too."""
ROUNDS = 8
"""Steps of one chain in a pass: no chain needs more, and none may keep the others waiting."""


class Waiting(Exception):
    """A chain can't go on in this pass; the text is the reason that the operator sees."""


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
        self._looked, self._glanced, self._took = float("-inf"), float("-inf"), 0.0
        self._asked: set[tuple[str, Goal]] = set()
        self._reasons: dict[str, str] = {}
        self._held: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._progress: list[Progress] = []
        self._wake = threading.Event()
        self._stopping = False
        live.check_placed(ledger.snapshot().chains, network.segments)

    def run(self, turn: Callable[[], bool]) -> None:
        """Settle until stopped, while it is its `turn`. An unexpected error ends it: a restart goes on."""
        while not self._stopping:
            busy = not turn() or self.settle()
            self._wake.wait(BUSY if busy else IDLE)
            self._wake.clear()

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
        While the store can't be written, only chains that are where they shall be are looked after: for them
        nothing needs to be written down.
        """
        with suppress(Unavailable):  # it says so in `fault`
            self._ledger.ready()
        whole = self._look_if_due()
        due = [stored for stored in self._ledger.chains() if whole or not stored.record.resting]
        considered = {stored.record.id for stored in due}
        kept = {key: reason for key, reason in self._reasons.items() if not whole and key not in considered}
        reasons: dict[str, str] = {}
        self._held.clear()
        self._progress.clear()
        unfinished = True
        try:
            self._go_on(due, reasons)
            unfinished = self._conclude()
            if self._ledger.fault is None:
                self._tell()
        except Unavailable as error:  # the store: what was done is seen, and written down, when it can be
            log.warning("nothing can be written down", reason=error.detail)
        reasons = kept | self._held | reasons
        self._reasons = reasons
        moving = any(not stored.record.settled for stored in self._ledger.chains())
        return bool(reasons) or unfinished or moving

    def _go_on(self, due: Iterable[StoredChain], reasons: dict[str, str]) -> None:
        for _ in range(ROUNDS):
            steps = self._tasks(due, reasons)
            if not steps:
                self._write_down()
                return
            began = self._monotonic()
            for batch in tasks.batches(steps):
                if not self._ledger.leads:  # another one may have begun
                    return
                self._do(batch, reasons)
                if self._monotonic() - began > BUSY:  # somebody may be watching
                    self._write_down()
                    began = self._monotonic()
            self._write_down()
            snapshot = self._ledger.snapshot()
            moved = {task.record.id for task in steps} | self._held.keys()
            due = [stored for stored in snapshot.listed if stored.record.id in moved]

    def _write_down(self) -> None:
        """All progress in one write. If a request changed one of the chains meanwhile, the others' counts."""
        progress = self._progress[:]
        self._progress.clear()
        if progress and not self._ledger.advance(progress):
            for item in progress:
                self._ledger.advance([item])

    def _conclude(self) -> bool:
        """End every apply whose chains are all done; True if any goes on."""
        snapshot, unfinished = self._ledger.snapshot(), False
        for operation in snapshot.applies:
            members = [item for item in snapshot.listed if item.record.operation == operation.id]
            records = [stored.record for stored in members]
            refused = self._world.untold
            told = refused or self._world.told == self._network.revision
            if told and all(together.done(record, self._world.seen) for record in records):
                ended = together.end(operation, records, self._clock(), refused)
                self._ledger.conclude(members, ended)
            else:
                unfinished = True
        return unfinished

    def _tell(self) -> None:
        """Have the journal tell which parts can't be reached, and what it does not tell yet."""
        faults = self._world.faults()
        for service in sorted(faults.keys() | self._told.keys()):
            before, after = self._told.get(service), faults.get(service)
            if (before is None) != (after is None):
                self._ledger.note(Event("fault", SELF, {service: (before, after)}))
        self._told = faults
        self._ledger.flush()

    def _look_if_due(self) -> bool:
        """A chain that only cools down is polled; for any other step the present state must be known, but
        only of its own segment. True if all was looked at."""
        records = self._ledger.snapshot().chains
        moving = {record.segment for record in records if not record.settled and not record.draining}
        now = self._monotonic()
        whole = now - self._looked >= IDLE
        if whole or (moving and now - self._glanced >= max(BUSY, REST * self._took)):
            self._asked = {(record.id, record.goal) for record in records}
            for chain_set in self._world.look(None if whole else moving):
                self._ledger.learn(chain_set)
            self._glanced, self._took = now, self._monotonic() - now
            self._looked = now if whole else self._looked
        return whole

    def _tasks(self, chains: Iterable[StoredChain], reasons: dict[str, str]) -> list[Task]:
        """The steps that are due, for chains that don't wait yet; fills in why the others wait."""
        snapshot = self._ledger.snapshot()
        groups = together.groups(snapshot.chains)
        found, judged, ready = [], [], set[str]()
        for stored in chains:
            record = stored.record
            gone = record.state is ChainState.REMOVED  # and so may be its segment
            if gone or record.id in reasons or (record.id, record.goal) not in self._asked:
                continue
            if self._ledger.fault is not None and not record.settled:
                reasons[record.id] = self._ledger.fault
                continue
            step = decide(record, self._world.seen(record), self._clock())
            obstacle = self._obstacle(record, step, snapshot)
            judged.append((stored, step, obstacle))
            if obstacle is None and together.brings(step):
                ready.add(record.id)
        for stored, step, obstacle in judged:
            peers = together.peers(record := stored.record, groups)
            if kept := together.stays(record, step, peers, self._network.config.rules):
                self._progress.append(Progress(stored, kept, None, self._author([record])))
                continue
            if held := together.hold(record, step, peers, ready):  # another round may free it
                self._held[record.id] = held
                leaves = together.leaves(record, step)
                step = serve(self._world.seen(record)) if leaves else Wait()
                obstacle = self._obstacle(record, step, snapshot)
            else:
                self._held.pop(record.id, None)
            if obstacle is not None:
                reasons[record.id] = obstacle
            elif isinstance(step, Do | Become):
                found.append(Task(stored, step))
        return found

    def _obstacle(self, record: ChainRecord, step: Step, snapshot: Snapshot) -> str | None:
        """Why a step can't be done now."""
        if isinstance(step, Become):
            return None
        if isinstance(step, Do):
            segment, view = self._segment(record), self._world.segment(record.segment)
            faults = [self._world.fault(service) for service in tasks.services(segment, step.action)]
            faults += [self._world.untold] if step.action is Action.STEER else []
            fault = next(filter(None, faults), None)
            fellows = snapshot.of(record.segment)
            return fault or adoption.obstacle(record, step.action, segment, view, fellows)
        if step.reason is not None and self._world.seen(record).pair is Sight.UNKNOWN:
            return self._world.faults().get(self._segment(record).master, step.reason)
        return step.reason

    def _segment(self, record: ChainRecord) -> SegmentConfig:
        return self._network.segments[record.segment]

    def _do(self, batch: list[Task], reasons: dict[str, str]) -> None:
        """Do one step of one chain, or the same step of several chains of a segment in one call."""
        task = batch[0]
        try:
            with request_id.bound(self._author([task.record]).request):  # a call has but one
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

    def _refuse(self, batch: list[Task], error: CatenaryError, reasons: dict[str, str]) -> None:
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
        """Have progress recorded. If a request changed the chain meanwhile, the next pass decides afresh."""
        operation = self._ledger.operation(after.operation) if after.operation else None
        ended = None
        if operation is not None:
            after, ended = conclude(after, operation, self._clock(), refusal)
        if after != before.record:
            author = operation.author if operation else SELF
            self._progress.append(Progress(before, after, ended, author, refusal))

    def _author(self, records: list[ChainRecord]) -> Author:
        """Who asked for what is done to these chains, if it was one for all of them."""
        operations = (self._ledger.operation(record.operation) for record in records if record.operation)
        authors = {operation.author for operation in operations if operation}
        return authors.pop() if len(authors) == 1 else SELF

    def _act(self, batch: list[Task]) -> None:
        """Make the call of a step, or of several that go together."""
        record = batch[0].record
        match batch[0].action:
            case Action.STEER:
                self._steer([item.record for item in batch])
            case Action.UNSTEER:
                self._unsteer(record)
            case Action.POLL | Action.END:
                self._poll(record)
            case Action.WEIGH:
                self._weigh([item.record for item in batch])
            case _:
                self._change(batch)

    def _steer(self, records: list[ChainRecord]) -> None:
        requests = tasks.steer_requests(records)
        call = self._peers.controller.steer_all
        steered = self._world.call(CONTROLLER, f"steer {', '.join(requests)}", lambda: call(requests))
        for chain in steered:
            self._world.learn_steered(chain.name, chain)

    def _unsteer(self, record: ChainRecord) -> None:
        call = self._peers.controller.unsteer
        # Not found: it was done before a crash, or the chain never was steered.
        with suppress(NotFound):
            self._world.call(CONTROLLER, f"unsteer {record.name}", lambda: call(record.name))
        self._world.learn_steered(record.name, None)

    def _change(self, batch: list[Task]) -> None:
        record = batch[0].record
        master = self._segment(record).master
        change, what = tasks.change(batch, self._network.config.rules(record.segment)), tasks.told(batch)
        try:
            chain_set = self._world.call(master, what, lambda: self._peers.balancers[master].change(change))
        except NotFound as error:
            if len(batch) > 1 or batch[0].action is Action.ADD_PAIR:
                raise
            # The master does not know the pair: see so, and let the next step follow from that.
            self._world.learn_state(master, record.chain.tags, None)
            raise Waiting(error.detail) from error
        self._world.learn(master, chain_set)
        self._ledger.learn(chain_set, self._author([item.record for item in batch]))

    def _weigh(self, records: list[ChainRecord]) -> None:
        master = self._segment(records[0]).master
        weights = [tasks.pair_weight(record) for record in records]
        what = f"{Action.WEIGH} {', '.join(record.name for record in records)}"
        call = self._peers.balancers[master].rebalance
        chain_set = self._world.call(master, what, lambda: call(wire.Rebalance(weights=weights)))
        self._world.learn(master, chain_set)
        self._ledger.learn(chain_set, self._author(records))

    def _poll(self, record: ChainRecord) -> None:
        """Raises `Waiting` unless the chain is drained."""
        segment = self._segment(record)
        master, slave = (self._ask(record, name) for name in (segment.master, segment.slave))
        self._world.learn_state(segment.master, record.chain.tags, master.state)
        verdict = judge(master, slave)
        if not verdict.drained:
            raise Waiting(verdict.reason + outlook(record, self._clock()))

    def _ended(self, task: Task) -> bool:
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
        ask = self._peers.balancers[name].activity
        try:
            answer = self._world.call(name, f"active? {record.name}", lambda: ask(record.chain.tags))
        except NotFound:
            return Activity(name, None, False, 0)
        return Activity(name, answer.state, answer.active, answer.sessions)
