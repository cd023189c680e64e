"""The embedded store: one SQLite file, one table."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

from catenary.errors import Conflict, InvalidValue
from mgmt_system.store import Entry

APPLICATION_ID = 0x43415445
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL
) STRICT
"""


class SqliteStore:
    """`KeyValueStore` in a file; `path` None keeps it in memory, for tests.

    WAL, so that a commit is one append. synchronous=FULL, because an accepted request (202) is a promise:
    with NORMAL a power failure could take back commits, and a tag pair that switches carry would look free.
    The file is locked while it is open: two management systems on one would undo each other's work.
    Raises `InvalidValue` for a file that is not ours or is damaged, `Conflict` for one in use.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        where = str(path) if path else ":memory:"
        try:
            self._db = sqlite3.connect(where, isolation_level=None, check_same_thread=False, timeout=0)
            self._prepare(where)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise Conflict(
                    f"database {where} is in use by another management system: stop it, or use another --db"
                ) from error
            raise InvalidValue(f"database {where} can't be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise InvalidValue(f"database {where} is damaged or no database: {error}") from error

    def _prepare(self, where: str) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        # Takes the lock now rather than at the first write.
        self._db.execute("BEGIN IMMEDIATE")
        owner = self._pragma("application_id"), self._pragma("user_version")
        if owner == (0, 0) and not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif owner != (APPLICATION_ID, SCHEMA_VERSION):
            raise InvalidValue(f"database {where} was not made by this version of Catenary: use another --db")
        self._db.execute(_SCHEMA)
        self._db.execute("COMMIT")
        verdict = self._db.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise InvalidValue(f"database {where} is damaged: {verdict}")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def get(self, key: str) -> Entry | None:
        with self._lock:
            row = self._db.execute(
                "SELECT key, value, revision FROM entries WHERE key = ?", (key,)
            ).fetchone()
        return Entry(*row) if row else None

    def list(self, prefix: str) -> list[Entry]:
        with self._lock:
            rows = self._db.execute(
                "SELECT key, value, revision FROM entries WHERE substr(key, 1, ?) = ? ORDER BY key",
                (len(prefix), prefix),
            ).fetchall()
        return [Entry(*row) for row in rows]

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> bool:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if not all(self._revision(key) == revision for key, revision in expect.items()):
                    self._db.execute("ROLLBACK")
                    return False
                for key, value in put.items():
                    self._write(key, value)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return True

    def _revision(self, key: str) -> int:
        row = self._db.execute("SELECT revision FROM entries WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else 0

    def _write(self, key: str, value: str | None) -> None:
        # A new row each time: AUTOINCREMENT then never gives a revision twice.
        self._db.execute("DELETE FROM entries WHERE key = ?", (key,))
        if value is not None:
            self._db.execute("INSERT INTO entries (key, value) VALUES (?, ?)", (key, value))

    def close(self) -> None:
        with self._lock:
            self._db.close()
