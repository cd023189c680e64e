"""The embedded store: one SQLite file, one table."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from catenary.errors import CatenaryError, Conflict, InsufficientStorage, InvalidValue, Unavailable
from mgmt_system.store import ALONE, Entry, Standing, migrations

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
_COPIED_AT_ONCE = 256
"""Pages of a copy between which others get their turn: 1 MB, a few milliseconds."""
_TURN_S = 0.001


class SqliteStore:
    """`KeyValueStore` in a file; `path` None keeps it in memory, for tests.

    WAL, so that a commit is one append. synchronous=FULL, because an accepted request (202) is a promise:
    with NORMAL a power failure could take back commits, and a tag pair that switches carry would look free.
    The file is locked while it is open: two management systems on one would undo each other's work.
    Raises `InvalidValue` for a file that is not ours or can't be opened, `Conflict` for one in use. A file
    that may be damaged is opened by `damaged.opened`.
    """

    damage: str | None = None
    standing: Standing = ALONE

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
        new = not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        if new and migrations.owner(self._db) == (0, 0):
            migrations.own(self._db)
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
        else:
            migrations.migrate(self._db, self.where)
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

    def copy(self, file: Path) -> None:
        def let_others() -> None:
            self._lock.release()
            time.sleep(_TURN_S)
            self._lock.acquire()

        with self._lock, closing(sqlite3.connect(file)) as copy:
            # If this ends before its time, the copy is of no use: nothing needs to be kept for that case.
            copy.execute("PRAGMA journal_mode = OFF")
            copy.execute("PRAGMA synchronous = OFF")
            # What this very connection commits between two steps goes into the copy too.
            self._db.backup(copy, pages=_COPIED_AT_ONCE, progress=lambda *_: let_others())

    def take(self, entries: Iterable[Entry]) -> None:
        """Have these entries as they are, with their revisions."""
        with self._use("written"):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_PUT, ((entry.key, entry.value, entry.revision) for entry in entries))
            self._db.execute("UPDATE revision SET last = (SELECT coalesce(max(revision), 0) FROM entries)")
            self._db.execute("COMMIT")

    def skip(self, revision: int) -> None:
        """Give no write a revision up to this one any more."""
        with self._use("written"):
            self._db.execute("UPDATE revision SET last = max(last, ?)", (revision,))

    def _revision(self, key: str) -> int:
        row = self._db.execute("SELECT revision FROM entries WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _use(self, done: str) -> Iterator[None]:
        """One thread at a time; SQLite's errors become ours."""
        with self._lock, told(f"{self.where} can't be {done}", "it goes on by itself"):
            yield

    def close(self) -> None:
        with self._lock:
            self._db.close()


@contextmanager
def told(what: str, again: str, otherwise: type[CatenaryError] = Unavailable) -> Iterator[None]:
    """Errors of SQLite and of the system become ours: `what` can't be done. `again`: what to do, or what
    happens, once a disk that is full has room."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        codes = getattr(error, "sqlite_errorcode", None), getattr(error, "errno", None)
        if codes[0] == sqlite3.SQLITE_FULL or codes[1] in (errno.ENOSPC, errno.EDQUOT):
            raise InsufficientStorage(f"{what}: its disk is full; make room, and {again}") from error
        raise otherwise(f"{what}: {getattr(error, 'strerror', None) or error}") from error


def in_use(where: str) -> Conflict:
    return Conflict(f"{where} is in use by another management system: stop it, or use another --db")
