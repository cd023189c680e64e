"""The embedded store: one SQLite file, one table."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from catenary.errors import Conflict, InsufficientStorage, InvalidValue, Unavailable
from mgmt_system.store import Entry

APPLICATION_ID = 0x43415445
SCHEMA_VERSION = 2
OURS = APPLICATION_ID, SCHEMA_VERSION
_SCHEMA = """
CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
-- The revision of the last write: entries alone would forget it with a key that is deleted.
CREATE TABLE revision (last INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (0);
"""
_RANGE = "SELECT key, value, revision FROM entries WHERE key >= ? AND key < ? ORDER BY key"
_PUT = (
    "INSERT INTO entries VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision"
)


class SqliteStore:
    """`KeyValueStore` in a file; `path` None keeps it in memory, for tests.

    WAL, so that a commit is one append. synchronous=FULL, because an accepted request (202) is a promise:
    with NORMAL a power failure could take back commits, and a tag pair that switches carry would look free.
    The file is locked while it is open: two management systems on one would undo each other's work.
    Raises `InvalidValue` for a file that is not ours or can't be opened, `Conflict` for one in use. A file
    that may be damaged is opened by `damaged.opened`.
    """

    damage: str | None = None

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self.where = f"database {path}" if path else "database in memory"
        try:
            self._db = sqlite3.connect(
                str(path) if path else ":memory:", isolation_level=None, check_same_thread=False, timeout=0
            )
            self._prepare()
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise in_use(self.where) from error
            raise InvalidValue(f"{self.where} can't be opened: {error}") from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        # Takes the lock now rather than at the first write.
        self._db.execute("BEGIN IMMEDIATE")
        found = owner(self._db)
        if found == (0, 0) and not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
        elif found != OURS:
            raise InvalidValue(f"{self.where} was not made by this version of Catenary: use another --db")
        self._db.execute("COMMIT")

    def get(self, key: str) -> Entry | None:
        with self._use("read"):
            row = self._db.execute(
                "SELECT key, value, revision FROM entries WHERE key = ?", (key,)
            ).fetchone()
        return Entry(*row) if row else None

    def range(
        self, first: str, end: str, *, limit: int | None = None, descending: bool = False
    ) -> list[Entry]:
        query = _RANGE + (" DESC" if descending else "") + " LIMIT ?"
        with self._use("read"):
            rows = self._db.execute(query, (first, end, -1 if limit is None else limit)).fetchall()
        return [Entry(*row) for row in rows]

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> int:
        with self._use("written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if not all(self._revision(key) == revision for key, revision in expect.items()):
                    self._db.execute("ROLLBACK")
                    return 0
                revision = int(
                    self._db.execute("UPDATE revision SET last = last + 1 RETURNING last").fetchall()[0][0]
                )
                for key, value in put.items():
                    if value is None:
                        self._db.execute("DELETE FROM entries WHERE key = ?", (key,))
                    else:
                        self._db.execute(_PUT, (key, value, revision))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a disk that is full may have ended it already
                    self._db.execute("ROLLBACK")
                raise
        return revision

    def _revision(self, key: str) -> int:
        row = self._db.execute("SELECT revision FROM entries WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _use(self, done: str) -> Iterator[None]:
        """One thread at a time; SQLite's errors become ours."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                    raise InsufficientStorage(
                        f"{self.where} can't be {done}: its disk is full; make room, and it goes on by itself"
                    ) from error
                raise Unavailable(f"{self.where} can't be {done}: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._db.close()


def owner(db: sqlite3.Connection) -> tuple[int, int]:
    """Whose file it is, and the version of its layout."""
    one, two = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    return int(one), int(two)


def in_use(where: str) -> Conflict:
    return Conflict(f"{where} is in use by another management system: stop it, or use another --db")
