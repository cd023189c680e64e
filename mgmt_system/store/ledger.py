"""Chains and operations in a key-value store, as JSON records.

Keys: `chain/NAME/ID`, `operation/ID`, and `gate`, which every accepted request rewrites: two requests that
were checked against the same records can't both be written.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from catenary.chain import Chain, ChainState
from catenary.tags import TagPair
from mgmt_system.crash import CrashPoint
from mgmt_system.records import ChainRecord, Goal, OperationRecord
from mgmt_system.store import KeyValueStore

GATE = "gate"
CONFIG = "config"
"""The configuration that was applied last: JSON, without the chains, which are records of their own."""
REMOVED_KEPT = 50
OPERATIONS_KEPT = 200


@dataclass(frozen=True)
class StoredChain:
    """A record with the revision that a write of it must expect."""

    record: ChainRecord
    revision: int


@dataclass(frozen=True)
class Snapshot:
    """All chains, with the revision of the gate before they were read."""

    chains: list[ChainRecord]
    gate: int


class Ledger:
    """Every write passes one crash point."""

    def __init__(self, store: KeyValueStore, crash_point: CrashPoint) -> None:
        self._store = store
        self._crash_point = crash_point

    def chains(self) -> list[StoredChain]:
        """All chains, removed ones too, oldest first."""
        stored = [
            StoredChain(_chain(json.loads(entry.value)), entry.revision)
            for entry in self._store.list("chain/")
        ]
        return sorted(stored, key=lambda item: (item.record.created, item.record.name))

    def snapshot(self) -> Snapshot:
        gate = self._store.get(GATE)
        return Snapshot([stored.record for stored in self.chains()], gate.revision if gate else 0)

    def operations(self) -> list[OperationRecord]:
        """All operations, oldest first."""
        found = [OperationRecord(**json.loads(entry.value)) for entry in self._store.list("operation/")]
        return sorted(found, key=lambda operation: operation.created)

    def operation(self, operation_id: str) -> OperationRecord | None:
        entry = self._store.get(f"operation/{operation_id}")
        return OperationRecord(**json.loads(entry.value)) if entry else None

    def accept(
        self,
        snapshot: Snapshot,
        chains: Collection[ChainRecord],
        operations: Collection[OperationRecord],
        config: str | None = None,
    ) -> bool:
        """Write what a request asks for, if no other request was accepted since `snapshot`; else False.

        `config`: the configuration from now on, if it changes.

        The engine may have moved the chain on meanwhile: the revision of each chain is expected too.
        """
        present = {_key(stored.record): stored for stored in self.chains()}
        seen = {_key(record): record for record in snapshot.chains}
        expect = {GATE: snapshot.gate}
        for key in map(_key, chains):
            stored = present.get(key)
            if (stored.record if stored else None) != seen.get(key):
                return False
            expect[key] = stored.revision if stored else 0
        put = self._outdated(present.values()) | {GATE: ""} | _rows(chains, operations)
        put |= {CONFIG: config} if config is not None else {}
        what = ", ".join(f"{record.name} shall be {record.goal}" for record in chains) or "configuration"
        return self._commit(put, expect, what)

    def advance(self, before: StoredChain, after: ChainRecord, operation: OperationRecord | None) -> bool:
        """Write the progress of a chain, and of its operation, if nobody else wrote it; else False."""
        what = f"{after.name} is {after.state}" + (f", shall be {after.goal}" if after.failure else "")
        put = _rows([after], [operation] if operation else [])
        return self._commit(put, {_key(after): before.revision}, what)

    def conclude(self, members: Collection[StoredChain], operation: OperationRecord) -> bool:
        """Write the end of an operation of several chains, if nobody else wrote any of them; else False."""
        expect = {_key(stored.record): stored.revision for stored in members}
        chains = [replace(stored.record, operation=None) for stored in members]
        return self._commit(_rows(chains, [operation]), expect, f"{operation.kind} is {operation.state}")

    def _commit(self, put: dict[str, str | None], expect: dict[str, int], what: str) -> bool:
        done = self._store.commit(put, expect)
        if done:
            self._crash_point(f"store write: {what}")
        return done

    def _outdated(self, chains: Collection[StoredChain]) -> dict[str, str | None]:
        """What is forgotten with the next write: the oldest of removed chains and finished operations."""
        removed = [s.record for s in chains if s.record.state is ChainState.REMOVED]
        removed.sort(key=lambda record: record.changed)
        finished = [o for o in self.operations() if o.state != "running"]
        keys = [_key(record) for record in removed[:-REMOVED_KEPT]]
        keys += [f"operation/{operation.id}" for operation in finished[:-OPERATIONS_KEPT]]
        return dict.fromkeys(keys)


def _key(record: ChainRecord) -> str:
    return f"chain/{record.name}/{record.id}"


def _rows(chains: Collection[ChainRecord], operations: Collection[OperationRecord]) -> dict[str, str | None]:
    rows: dict[str, str | None] = {_key(chain): json.dumps(asdict(chain)) for chain in chains}
    return rows | {f"operation/{o.id}": json.dumps(asdict(o)) for o in operations}


def _chain(data: dict[str, Any]) -> ChainRecord:
    chain = data.pop("chain")
    return ChainRecord(
        chain=Chain(chain["name"], tuple(chain["nfs"]), TagPair(**chain["tags"]), chain["weight"]),
        state=ChainState(data.pop("state")),
        goal=Goal(data.pop("goal")),
        **data,
    )
