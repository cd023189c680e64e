"""Chains, operations and the journal in a key-value store.

All but the journal is kept in memory too, so that reading asks no disk and goes on without one. What is in
memory is what this process last read or wrote; every write expects the revisions that it was decided on. If
somebody else wrote meanwhile, it is refused, and all is read afresh. Where several processes share the store,
those that don't lead read what the leader wrote (`catch_up`), and who comes to lead does so before it begins.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from catenary import wire
from catenary.config import ServiceConfig
from catenary.errors import CatenaryError, Unavailable
from mgmt_system.crash import CrashPoint
from mgmt_system.epochs import Epochs
from mgmt_system.journal import Event, Head, JournalEntry, Kind, Retention, chain_event, difference
from mgmt_system.records import SELF, Author, ChainRecord, OperationRecord
from mgmt_system.store import KeyValueStore, NotLeader, Standing, rows, under
from mgmt_system.store.changes import asked, log_event, merged, outdated
from mgmt_system.store.snapshot import Progress, Snapshot, Stored, StoredChain, oldest_first
from mgmt_system.verdicts import Verdicts

log = structlog.get_logger("mgmt_system")
R = TypeVar("R")
DROPPED_AT_ONCE = 64
"""Entries of the journal that go with one write, so that none takes long."""
LOOKS = 5
"""Times that all is read because the leader wrote meanwhile; a follower may be a moment behind."""
PENDING_KEPT = 1000
"""Events that wait for a write; while there is no room to write, the oldest go first."""


class Ledger:
    """Every write passes one crash point. `clock` gives seconds since the epoch.

    Raises `InvalidValue` for a store that holds what can't be read. A write that the store can't take raises
    its error; `fault` says so until one succeeds, and from the beginning of a store that is `damaged`: that
    takes none, and may not have all that it once had.
    """

    def __init__(
        self,
        store: KeyValueStore,
        crash_point: CrashPoint,
        clock: Callable[[], float] = time.time,
        retention: Retention | None = None,
    ) -> None:
        self._store = store
        self._crash_point = crash_point
        self._clock = clock
        self._retention = retention or Retention()
        self._lock = threading.RLock()
        self._pending: deque[Event] = deque(maxlen=PENDING_KEPT)
        self._fault: CatenaryError | None = Unavailable(store.damage) if store.damage else None
        self._term = store.standing.term  # before it reads: nobody else can write from then on
        self._now = self._load()
        self._read_told()

    def _read_told(self) -> None:
        """What the journal has told of load balancers."""
        self._epochs = Epochs(self._now.head.epochs)
        self._verdicts = Verdicts(self._now.head.verdicts)

    def _load(self) -> Snapshot:
        store, where = self._store, self._store.where

        def load(prefix: str, make: Callable[[dict[str, Any]], R]) -> list[tuple[str, Stored[R]]]:
            found = store.range(*under(prefix))
            return [(entry.key, Stored(rows.read(entry, make, where), entry.revision)) for entry in found]

        gate, head = store.get(rows.GATE), store.get(rows.HEAD)  # first: see `catch_up`
        operations = load(rows.OPERATIONS, rows.operation)
        operations.sort(key=lambda item: item[1].record.created)
        return Snapshot(
            oldest_first(dict(load(rows.CHAINS, rows.chain))),
            dict(operations),
            gate.revision if gate else 0,
            rows.read(head, rows.head, where) if head else self._new_head(),
            head.revision if head else 0,
        )

    def _new_head(self) -> Head:
        """Of an empty journal, or of what a damaged store has left of one."""
        now, numbers = self._clock(), under(rows.JOURNAL)
        ends = [self._store.range(*numbers, limit=1, descending=last) for last in (False, True)]
        if not ends[0]:
            return Head(since=now, oldest=now, latest=now)
        first, last = (rows.told(found, self._store.where) for (found,) in ends)
        return Head(since=now, oldest=first.at, latest=last.at, first=first.seq, next=last.seq + 1)

    # --- reading: never waits for a write

    def snapshot(self) -> Snapshot:
        return self._now

    def chains(self) -> Sequence[StoredChain]:
        """All chains, removed ones too, oldest first."""
        return self._now.listed

    def operations(self) -> list[OperationRecord]:
        """All operations, oldest first."""
        return [stored.record for stored in self._now.stored_operations.values()]

    def operation(self, operation_id: str) -> OperationRecord | None:
        return self._now.operation(operation_id)

    def entries(
        self, first: int, end: int, *, limit: int | None = None, descending: bool = False
    ) -> list[JournalEntry]:
        """Entries of the journal whose numbers are `first` or more and less than `end`."""
        found = self._store.range(
            rows.entry_key(first), rows.entry_key(end), limit=limit, descending=descending
        )
        return [rows.told(entry, self._store.where) for entry in found]

    @property
    def damaged(self) -> bool:
        return self._store.damage is not None

    @property
    def where(self) -> str:
        return self._store.where

    @property
    def fault(self) -> str | None:
        """Why nothing can be written, as far as the last attempt showed; None where it can, or by another."""
        fault, standing = self._fault, self._store.standing
        if fault is None and not standing.term and standing.leader is None:
            return NotLeader.told(standing, self.where).detail
        return fault.detail if fault else None

    @property
    def standing(self) -> Standing:
        return self._store.standing

    @property
    def leads(self) -> bool:
        """May this process write, and does it know all that others wrote before?"""
        term = self._store.standing.term
        return term > 0 and term == self._term

    def catch_up(self) -> bool:
        """Read what another process wrote; False if it wrote nothing."""
        with self._lock:
            before = self._now
            for _ in range(LOOKS):
                head = self._store.get(rows.HEAD)
                if (head.revision if head else 0) == self._now.head_revision:
                    break  # every write moves the head: what was read since is of one moment
                self._now = self._load()
            self._read_told()
            return self._now is not before

    def lead(self, term: int) -> None:
        """Begin to write: all that was written before `term` has been read."""
        self._term = term

    def configured(self, first: ServiceConfig) -> ServiceConfig:
        """The configuration that was applied last; `first`, which is kept then, if none was.

        It has no chains: they are records of their own. Raises `InvalidValue` if it can't be read.
        """
        entry = self._store.get(rows.CONFIG)
        if entry is not None:
            return rows.read(entry, ServiceConfig.model_validate, self._store.where)
        if not self.damaged and self._store.standing.term:
            self._store.commit({rows.CONFIG: rows.config_value(first)}, {rows.CONFIG: 0})
        return first

    def recall(self, segments: Collection[str], seen: Callable[[Snapshot], Sequence[ChainRecord]]) -> None:
        """Show chains that other parts have and a damaged store lacks, in place of those shown so before; and
        none of a segment that is not known any more. `seen` tells them by what was read."""
        with self._lock:
            read = {
                key: stored
                for key, stored in self._now.stored_chains.items()
                if stored.revision and stored.record.segment in segments
            }
            base = replace(self._now, stored_chains=read)
            found = {rows.chain_key(record): Stored(record, 0) for record in seen(base)}
            self._now = replace(base, stored_chains=oldest_first(read | found))

    def copy(self, file: Path) -> None:
        """Write all that is stored, as of one moment, into an SQLite file that is new."""
        self._store.copy(file)

    def close(self) -> None:
        """Release the store; no call may follow."""
        self._store.close()

    # --- writing

    def ready(self) -> None:
        """Raises the store's error if nothing could be written last, and still can't; `NotLeader` if it is
        for another to write."""
        if not self.leads:
            raise NotLeader.told(self._store.standing, self.where)
        if self._fault is not None:
            with self._lock:
                self._commit("journal", expect={})

    def accept(
        self,
        snapshot: Snapshot,
        chains: Collection[ChainRecord],
        operations: Collection[OperationRecord],
        author: Author,
        *,
        config: str | None = None,
        also: Sequence[Event] = (),
    ) -> bool:
        """Write what a request asks for, if no other request was accepted since `snapshot`; else False.

        `config`: the configuration from now on, if it changes; `also`: what else there is to tell.

        The engine may have moved the chain on meanwhile: the revision of each chain is expected too.
        """
        expect, events = {rows.GATE: snapshot.gate}, list(also)
        for record in chains:
            stored = snapshot.stored(record)
            expect[rows.chain_key(record)] = stored.revision if stored else 0
            before = stored.record if stored else None
            if before is None or difference(before, record):  # what only goes on elsewhere tells nothing
                events.append(chain_event(asked(before, record), author, before, record))
        what = ", ".join(f"{record.name} shall be {record.goal}" for record in chains)
        return self._commit(
            what or "configuration",
            expect=expect,
            chains=chains,
            operations=operations,
            forget=outdated(snapshot),
            events=events,
            gate=True,
            config=config,
        )

    def advance(self, progress: Sequence[Progress]) -> bool:
        """Write the progress of chains, if nobody else wrote one of them; else False."""
        return self._commit(
            ", ".join(item.what for item in progress),
            expect={rows.chain_key(item.after): item.before.revision for item in progress},
            chains=[item.after for item in progress],
            operations=[item.operation for item in progress if item.operation],
            events=[item.event for item in progress],
        )

    def conclude(self, members: Sequence[StoredChain], operation: OperationRecord) -> bool:
        """Write the end of an operation of several chains, if nobody else wrote any of them; else False."""
        kind: Kind = "failure" if operation.state == "failed" else "apply"
        end = {"state": ("running", operation.state)}
        return self._commit(
            f"{operation.kind} is {operation.state}",
            expect={rows.chain_key(stored.record): stored.revision for stored in members},
            chains=[replace(stored.record, operation=None) for stored in members],
            operations=[operation],
            events=[Event(kind, operation.author, end, operation=operation.id, text=operation.reason)],
        )

    def weigh(
        self, kind: Kind, chains: Sequence[tuple[StoredChain, ChainRecord]], author: Author, *also: Event
    ) -> bool:
        """Write new weights of chains, if nobody else wrote these, and tell of `also`; else False."""
        changed = [(before, after) for before, after in chains if before.record != after]
        if not changed and not also and not self._pending:
            return True
        return self._commit(
            ", ".join(f"{after.name} is {after.state}" for _, after in changed) or kind,
            expect={rows.chain_key(after): before.revision for before, after in changed},
            chains=[after for _, after in changed],
            events=[*also, *(chain_event(kind, author, before.record, after) for before, after in changed)],
        )

    def tell(self, event: Event) -> None:
        """Write an event that no record tells of."""
        while not self._commit(event.kind, expect={}, events=[event]):
            pass

    def note(self, event: Event) -> None:
        """Have an event written with the next write, or by `flush`."""
        with self._lock:
            self._pending.append(event)

    def learn(self, chain_set: wire.ChainSet, author: Author = SELF) -> None:
        """Note a master's chain set, if its epoch is another than that noted last; and which chains fell
        or rose."""
        with self._lock:
            changes = self._epochs.learn(chain_set)
            if changes is not None:
                self.note(Event("epoch", author, changes, chain_set.segment))
            self._pending.extend(self._verdicts.learn(chain_set, self._now.of(chain_set.segment)))

    def flush(self) -> None:
        """Write what was noted and is not written yet, and drop what is too old."""
        head = self._now.head
        if self._pending or head.oldest < self._clock() - self._retention.age:
            self._commit("journal", expect={})

    def _commit(
        self,
        what: str,
        *,
        expect: Mapping[str, int],
        chains: Collection[ChainRecord] = (),
        operations: Collection[OperationRecord] = (),
        forget: Collection[str] = (),
        events: Sequence[Event] = (),
        gate: bool = False,
        config: str | None = None,
    ) -> bool:
        """One write of all that belongs together: records, and the events that tell of them."""
        with self._lock:
            now, told = self._now, [*self._pending, *events]
            if any(now.revision(key) != revision for key, revision in expect.items()):
                return False  # what the other one wrote is in `_now`: to read all anew would take long
            put: dict[str, str | None] = dict.fromkeys(forget)
            put |= {rows.chain_key(record): rows.chain_value(record) for record in chains}
            put |= {rows.operation_key(item.id): rows.operation_value(item) for item in operations}
            put |= {rows.CONFIG: config} if config is not None else {}
            try:
                head, journal = self._journal(told)
                put |= journal | {rows.HEAD: rows.head_value(head)} | ({rows.GATE: ""} if gate else {})
                revision = self._store.commit(put, {**expect, rows.HEAD: now.head_revision})
                if not revision:
                    self._now = self._load()
            except NotLeader:
                raise
            except CatenaryError as error:
                self._fault = error
                raise
            self._fault = None
            if not revision:
                return False
            self._pending.clear()
            new = {rows.chain_key(item): Stored(item, revision) for item in chains}
            begun = {rows.operation_key(item.id): Stored(item, revision) for item in operations}
            kept = merged(now.stored_chains, new, forget)
            self._now = Snapshot(
                kept if new.keys() <= now.stored_chains.keys() else oldest_first(kept),
                merged(now.stored_operations, begun, forget),
                revision if gate else now.gate,
                head,
                revision,
            )
        self._crash_point(f"store write: {what}")
        for event in told:
            log_event(event)
        return True

    def _journal(self, events: Sequence[Event]) -> tuple[Head, dict[str, str | None]]:
        """The journal's head once `events` are in it, and what to write and to delete for that."""
        head, put = self._trimmed()
        at = max(self._clock(), head.latest)
        size = head.size
        for seq, event in enumerate(events, head.next):
            value = rows.entry_value(JournalEntry(seq, at, event))
            put[rows.entry_key(seq)] = value
            size += len(value)
        oldest = at if head.first == head.next else head.oldest
        latest, following = (at if events else head.latest), head.next + len(events)
        return replace(
            head,
            oldest=oldest,
            latest=latest,
            next=following,
            size=size,
            epochs=dict(self._epochs.known),
            verdicts=self._verdicts.told(self._now.chains),
        ), put

    def _trimmed(self) -> tuple[Head, dict[str, str | None]]:
        """The head without entries that are too old, or too many; and their keys, to be deleted."""
        head, gone = self._now.head, dict[str, str | None]()
        before = self._clock() - self._retention.age
        if head.size <= self._retention.size and head.oldest >= before:
            return head, gone
        for stored in self._store.range(
            rows.entry_key(head.first), rows.entry_key(head.next), limit=DROPPED_AT_ONCE
        ):
            at = rows.read(stored, rows.journal_entry, self._store.where).at
            head = replace(head, oldest=at)
            if head.size <= self._retention.size and at >= before:
                break
            gone[stored.key] = None
            head = replace(head, since=at, first=head.first + 1, size=head.size - len(stored.value))
        return head, gone
