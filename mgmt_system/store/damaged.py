"""A store whose file is damaged: it is never written, and shows what can be read of it.

The file is not even opened for writing: SQLite would take in the log that lies beside it.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from catenary.config import ServiceConfig
from catenary.errors import Unavailable
from mgmt_system.store import Entry, rows, under
from mgmt_system.store.migrations import APPLICATION_ID, VERSION, owner
from mgmt_system.store.snapshot import Stored
from mgmt_system.store.sqlite import SqliteStore, in_use
from mgmt_system.views import chain_view, entry_view, operation_view

log = structlog.get_logger("mgmt_system")
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)
LOCKED = 510, 0x40000002
"""Where SQLite's locks lie in a file, whatever its length: how many bytes, from where on."""
_LEFT = (rows.CHAINS, rows.OPERATIONS, rows.JOURNAL, rows.CONFIG, rows.GATE)
"""What is read, by the beginning of its keys. The journal gets a head by the entries that are left."""
_READ = """
SELECT key, value, revision FROM entries
WHERE key >= ? AND key < ?
    AND typeof(key) = 'text' AND typeof(value) = 'text' AND typeof(revision) = 'integer'
ORDER BY key
"""


class DamagedStore(SqliteStore):
    """`KeyValueStore` with what can be read of a damaged file, in memory."""

    def __init__(self, path: Path, verdict: str) -> None:
        super().__init__(None)
        self.where = f"database {path}"
        self.damage = (
            f"{self.where} is damaged or no database ({verdict}), so nothing is changed: keep what catenary "
            "export says now, stop the management system, put a backup in its place with catenary restore "
            f"BACKUP --db {path}, and start it again; without a backup move it away with its log, and apply "
            "what was exported to a new one"
        )
        readable = [entry for entry in _found(path) if _fault(entry) is None]
        with self._use("read"):
            self._db.executemany(
                "INSERT INTO entries VALUES (?, ?, ?)",
                [(entry.key, entry.value, entry.revision) for entry in readable],
            )
        count = Counter(entry.key.split("/")[0] for entry in readable)
        log.error(
            "the database is damaged: it is not touched, what can be read of it is shown, and all changes "
            "are refused",
            database=str(path),
            fault=self.damage,
            chains=count["chain"],
            operations=count["operation"],
            journal=count["journal"],
        )

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> int:
        raise Unavailable(str(self.damage))

    def copy(self, file: Path) -> None:
        raise Unavailable(str(self.damage))


def opened(path: Path) -> SqliteStore:
    """The store in a file, which is made if it is not there; raises as `SqliteStore` does.

    A file that is in use may look damaged, for its owner is writing it.
    """
    found = verdict(path)
    if found is None:
        return SqliteStore(path)
    if os.path.isfile(path) and is_locked(path):
        raise in_use(f"database {path}")
    return DamagedStore(path, found)


def verdict(path: Path, *, journal: bool = False) -> str | None:
    """What is wrong with a file; None: nothing, or what only opening it for writing will tell.

    The `journal`, which may be long, need not be read for a start: reading it will tell.
    """
    if not os.path.isfile(path):
        return "it is missing, and its log is not" if _has_log(path) else None
    if not path.stat().st_size:
        return "it is empty"
    try:
        with reading(path) as db:
            found = str(db.execute("PRAGMA integrity_check").fetchone()[0]).splitlines()[0]
            if found != "ok":
                return found
            # Records of an earlier version can be read once they are migrated.
            return _unreadable(db, journal) if owner(db) == (APPLICATION_ID, VERSION) else None
    except sqlite3.Error as error:
        # The lower byte says what it is, the others more of it.
        return str(error) if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE else None
    except UnicodeDecodeError:  # of an error's text, in which SQLite names what it has found
        return "malformed database schema"


def _found(path: Path) -> list[Entry]:
    """What SQLite reads of a file: each kind of record from both ends, as far as it is whole."""
    found: dict[str, Entry] = {}
    errors = sqlite3.Error, UnicodeDecodeError
    with suppress(*errors), reading(path) as db:
        # With this alone SQLite begins on a file that is shorter than its header says.
        db.execute("PRAGMA writable_schema = ON")
        for kind in _LEFT:
            for order in ("ASC", "DESC"):
                with suppress(*errors):
                    for row in db.execute(f"{_READ} {order}", under(kind)):
                        found[row[0]] = Entry(*row)
    return [*found.values()]


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Neither way makes or changes a file. Without a log nobody has it open, so there is nothing to lock; and
    where a log is, it is read without the locks for which SQLite would make a file."""
    how = "mode=ro&vfs=unix-none" if _has_log(path) else "immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as db:
        db.text_factory = lambda raw: raw.decode(errors="backslashreplace")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        yield db


def _unreadable(db: sqlite3.Connection, journal: bool) -> str | None:
    """What is wrong with the first record that can't be read."""
    query = "SELECT key, value, revision FROM entries WHERE ? OR NOT key BETWEEN ? AND ?"
    records = (Entry(*row) for row in db.execute(query, (journal, rows.JOURNAL, rows.JOURNAL + "~")))
    return next((fault for entry in records if (fault := _fault(entry))), None)


def _fault(entry: Entry) -> str | None:
    """Why a record can't be shown; None: it can."""
    try:
        if entry.key != rows.GATE and _key(entry.key, json.loads(entry.value)) != entry.key:
            return f"{entry.key} holds another record"
    except rows.UNREADABLE as error:
        return rows.said(entry, error)
    return None


def _key(key: str, data: dict[str, Any]) -> str:
    """Where a record belongs. Its view is made too: noise may be JSON, and look like a record."""
    if key.startswith(rows.CHAINS):
        record = rows.chain(data)
        chain_view(Stored(record, 0), None)
        return rows.chain_key(record)
    if key.startswith(rows.OPERATIONS):
        return rows.operation_key(operation_view(rows.operation(data)).id)
    if key.startswith(rows.JOURNAL):
        return rows.entry_key(entry_view(rows.journal_entry(data)).seq)
    if key == rows.HEAD:
        rows.head(data)
    if key == rows.CONFIG:
        ServiceConfig.model_validate(data)
    return key


def is_locked(path: Path) -> bool:
    """Has another process the file open as its store?"""
    with path.open("rb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, *LOCKED)
        except (BlockingIOError, PermissionError):
            return True
    return False


def _log(path: Path) -> Path:
    """SQLite's write-ahead log of a file."""
    return path.with_name(path.name + "-wal")


def _has_log(path: Path) -> bool:
    return os.path.isfile(_log(path)) and _log(path).stat().st_size > 0
