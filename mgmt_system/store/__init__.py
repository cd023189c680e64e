"""The store: a small key-value interface with compare-and-swap, and what implements it.

Revisions are those of the whole store: each write is one, greater than all before, and every key that it
writes has it from then on. So none comes back, not even after a key was deleted; 0 stands for "no such
key". This is what etcd offers too. What may not happen here: no knowledge of chains (that is `ledger`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from catenary.errors import Unavailable


@dataclass(frozen=True)
class Entry:
    """One key, its value (JSON text), and the revision of its last write."""

    key: str
    value: str
    revision: int


@dataclass(frozen=True)
class Standing:
    """Who may write to a store that several share.

    `term`: this process may, and has been allowed to since that revision; 0: it may not. `leader`: the URL of
    who may. Where that is nobody, `fault` may say why.
    """

    term: int
    leader: str | None = None
    fault: str | None = None


ALONE = Standing(1)
"""Of a store that nobody shares."""


class NotLeader(Unavailable):
    """Another management system leads, or none does at present: nothing was changed."""

    def __init__(self, text: str, leader: str | None = None) -> None:
        super().__init__(text)
        self.leader = leader

    @classmethod
    def told(cls, standing: Standing, where: str) -> Self:
        if standing.leader is not None:
            return cls(
                f"this management system follows, and changes nothing: {standing.leader} leads",
                standing.leader,
            )
        return cls(f"no management system leads at present, so nothing is changed: {standing.fault or where}")


class KeyValueStore(Protocol):
    """What the management system asks of a store; `where` is its name in messages.

    `damage`: why it is only read as long as it is open, and the way out; None for a store that is whole.
    Calls may come from several threads. Raises `Unavailable` while it can't be read or written, and its
    subclasses `InsufficientStorage` while it has no room, and `NotLeader` if it is for another to write: a
    write that these refuse has changed nothing. One that is `Unavailable` may have been done where the store
    is on other machines: whatever is written next expects that it was not, or reads that it was.
    """

    @property
    def where(self) -> str: ...

    @property
    def damage(self) -> str | None: ...

    @property
    def standing(self) -> Standing: ...

    def get(self, key: str) -> Entry | None:
        """The entry of a key; None without one."""

    def range(
        self, first: str, end: str, *, limit: int | None = None, descending: bool = False
    ) -> list[Entry]:
        """The entries with `first` <= key < `end`, sorted by key, as of one moment; at most `limit`."""

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> int:
        """Write all of `put` (None deletes), durably, if every key in `expect` still has that revision.

        Returns the revision of the write, or 0 with nothing written.
        """

    def copy(self, file: Path) -> None:
        """Write all, as of one moment, into an SQLite file that is new; commits go on meanwhile.

        Raises `sqlite3.Error` if that can't be written.
        """

    def close(self) -> None:
        """Release the store; no call may follow."""


def under(prefix: str) -> tuple[str, str]:
    """The range of all keys that start with `prefix`, which is not empty."""
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
