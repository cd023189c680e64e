"""Records as they were read from the store, and what is to become of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Generic, TypeVar

from catenary.chain import ChainState
from mgmt_system.journal import Event, Head, Kind, chain_event
from mgmt_system.records import Author, ChainRecord, OperationRecord
from mgmt_system.store import rows

R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Stored(Generic[R]):
    """A record with the revision that a write of it must expect. Another write makes another one."""

    record: R
    revision: int


StoredChain = Stored[ChainRecord]


_place = attrgetter("record.created", "record.chain.name")


def oldest_first(chains: Mapping[str, StoredChain]) -> dict[str, StoredChain]:
    """In the order of lists: of the same moment by name."""
    return dict(sorted(chains.items(), key=lambda item: _place(item[1])))


@dataclass(frozen=True)
class Snapshot:
    """All records at one moment, by their keys, oldest first."""

    stored_chains: Mapping[str, StoredChain]
    stored_operations: Mapping[str, Stored[OperationRecord]]
    gate: int
    head: Head
    head_revision: int

    @cached_property
    def listed(self) -> Sequence[StoredChain]:
        """All chains, removed ones too, oldest first."""
        return list(self.stored_chains.values())

    @cached_property
    def chains(self) -> Sequence[ChainRecord]:
        return [stored.record for stored in self.listed]

    @cached_property
    def present(self) -> Sequence[StoredChain]:
        """The chains that are not removed, oldest first."""
        return [stored for stored in self.listed if stored.record.state is not ChainState.REMOVED]

    @cached_property
    def _latest(self) -> Mapping[str, StoredChain]:
        return {stored.record.chain.name: stored for stored in self.listed}

    @cached_property
    def _by_segment(self) -> Mapping[str, Sequence[ChainRecord]]:
        found: dict[str, list[ChainRecord]] = {}
        for record in self.chains:
            found.setdefault(record.segment, []).append(record)
        return found

    def latest(self, name: str) -> StoredChain | None:
        """The latest chain of this name, a removed one too."""
        return self._latest.get(name)

    def of(self, segment: str) -> Sequence[ChainRecord]:
        """The chains of one segment, removed ones too, oldest first."""
        return self._by_segment.get(segment, ())

    @cached_property
    def chains_revision(self) -> int:
        """It changes whenever a chain does."""
        return max([self.gate, *(stored.revision for stored in self.stored_chains.values())])

    @cached_property
    def operations_revision(self) -> int:
        return max([self.gate, *(stored.revision for stored in self.stored_operations.values())])

    @cached_property
    def applies(self) -> Sequence[OperationRecord]:
        """The applies that are running, oldest first."""
        operations = [stored.record for stored in self.stored_operations.values()]
        return [item for item in operations if item.kind == "apply" and item.state == "running"]

    def revision(self, key: str) -> int:
        """Of what a write may expect; 0: there is no such key."""
        if key == rows.GATE:
            return self.gate
        stored = self.stored_chains.get(key) or self.stored_operations.get(key)
        return stored.revision if stored else 0

    def stored(self, record: ChainRecord) -> StoredChain | None:
        """The chain as it is in this snapshot."""
        return self.stored_chains.get(rows.chain_key(record))

    def stored_operation(self, operation_id: str) -> Stored[OperationRecord] | None:
        return self.stored_operations.get(rows.operation_key(operation_id))

    def operation(self, operation_id: str | None) -> OperationRecord | None:
        stored = self.stored_operation(operation_id) if operation_id else None
        return stored.record if stored else None


@dataclass(frozen=True)
class Progress:
    """A chain before and after a step, and its operation if that has moved on.

    `author` asked for it; `reason` says what was refused, if that is why.
    """

    before: StoredChain
    after: ChainRecord
    operation: OperationRecord | None
    author: Author
    reason: str | None = None

    @property
    def what(self) -> str:
        after = self.after
        return f"{after.name} is {after.state}" + (f", shall be {after.goal}" if after.failure else "")

    @property
    def event(self) -> Event:
        failed = self.reason is not None or (self.operation is not None and self.operation.state == "failed")
        kind: Kind = "failure" if failed else "state"
        return chain_event(kind, self.author, self.before.record, self.after, self.reason)
