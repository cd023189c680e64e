"""Records as they were read from the store, and what is to become of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from mgmt_system.journal import Event, Head, Kind, chain_event
from mgmt_system.records import Author, ChainRecord, OperationRecord
from mgmt_system.store import rows

R = TypeVar("R")


@dataclass(frozen=True)
class Stored(Generic[R]):
    """A record with the revision that a write of it must expect."""

    record: R
    revision: int


StoredChain = Stored[ChainRecord]


@dataclass(frozen=True)
class Snapshot:
    """All records at one moment, by their keys."""

    stored_chains: Mapping[str, StoredChain]
    stored_operations: Mapping[str, Stored[OperationRecord]]
    gate: int
    head: Head
    head_revision: int

    @cached_property
    def listed(self) -> Sequence[StoredChain]:
        """All chains, removed ones too, oldest first."""
        return sorted(self.stored_chains.values(), key=lambda item: (item.record.created, item.record.name))

    @cached_property
    def chains(self) -> Sequence[ChainRecord]:
        return [stored.record for stored in self.listed]

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
