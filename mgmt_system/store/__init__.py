"""The store: a small key-value interface with compare-and-swap, and what implements it.

Revisions start at 1, grow with each write and are never used again, not even after a key was deleted;
0 stands for "no such key". What may not happen here: no knowledge of chains (that is `ledger`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """One key, its value (JSON text), and the revision of its last write."""

    key: str
    value: str
    revision: int


class KeyValueStore(Protocol):
    """What the management system asks of a store. Calls may come from several threads."""

    def get(self, key: str) -> Entry | None:
        """The entry of a key; None without one."""

    def list(self, prefix: str) -> list[Entry]:
        """All entries whose key starts with `prefix`, sorted by key, as of one moment."""

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> bool:
        """Write all of `put` (None deletes), durably, if every key in `expect` still has that revision.

        Returns False, with nothing written, if one has not.
        """

    def close(self) -> None:
        """Release the store; no call may follow."""
