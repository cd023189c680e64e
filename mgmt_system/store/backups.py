"""Backups: copies of a store that is in use, one SQLite file each, and how one takes a database's place.

A backup is checked where it is taken, where it arrives, and where it is restored. What may not happen here:
an old log beside a new file, which SQLite would write into it; or a moment in which the place is empty, for
a management system that started just then would begin with no chain, and give away tags in use.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import BinaryIO

from catenary.errors import Conflict, InvalidValue, Unavailable
from mgmt_system.crash import never
from mgmt_system.journal import Event, Retention
from mgmt_system.records import Author
from mgmt_system.store import migrations
from mgmt_system.store.damaged import LOCKED, is_locked, reading, verdict
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore, in_use, told

_PARTS = ("", "-wal", "-shm", "-journal")
"""Ends of the names of what SQLite takes for one database."""
_COUNTED = """
SELECT
    count(*) FILTER (WHERE key GLOB 'chain/*' AND json_extract(value, '$.state') <> 'removed'),
    count(*) FILTER (WHERE key GLOB 'operation/*'),
    count(*) FILTER (WHERE key GLOB 'journal/*'),
    max(json_extract(value, '$.latest')) FILTER (WHERE key = 'journal-head')
FROM entries
"""


@dataclass(frozen=True)
class Contents:
    """What a backup holds: the `version` of the store that it is of, and chains that are not removed.

    Every change up to the moment `latest`, that of its last entry in the journal, is in it.
    """

    file: str
    bytes: int
    version: int
    chains: int
    operations: int
    journal: int
    latest: float | None


@dataclass(frozen=True)
class Restored:
    """A backup in a database's place; `kept` are the new names of what was there."""

    database: str
    kept: list[str]
    backup: Contents


def taken(ledger: Ledger) -> BinaryIO:
    """A copy of the store, which is whole, as a file that is gone when it is closed.

    Raises `Unavailable` for a store that is damaged, `InsufficientStorage` without room for the copy.
    """
    what = f"{ledger.where} can't be copied to {tempfile.gettempdir()}"
    with told(what, "ask again"), tempfile.TemporaryDirectory(prefix="catenary-") as folder:
        copy = Path(folder) / "backup"
        ledger.copy(copy)
        if fault := verdict(copy):
            raise Unavailable(
                f"{ledger.where} is damaged ({fault}), so there is nothing whole to copy: keep what catenary "
                "export says, and put an earlier backup in its place with catenary restore"
            )
        return copy.open("rb")


def saved(pieces: Iterable[bytes], file: Path, *, force: bool) -> Contents:
    """Write a backup as it comes, and check it. Before that is done, or if it fails, there is no such file.

    Raises `Conflict` if there is one already, unless `force`, and `InvalidValue` if it can't be written.
    """
    exists = Conflict(f"{file} exists: choose another name, or use --force")
    if os.path.lexists(file) and not force:
        raise exists
    with told(f"{file} can't be written", "do it again", InvalidValue), _beside(file) as new:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
            output.writelines(pieces)
            output.flush()
            os.fsync(output.fileno())
        contents = _checked(new, f"what the management system sent for {file}")
        try:
            (os.replace if force else os.link)(new, file)
        except FileExistsError:
            raise exists from None
        _sync(file.parent)
    return replace(contents, file=str(file))


def restored(backup: Path, database: Path, author: Author) -> Restored:
    """Put a backup in a database's place, and keep what was there beside it. The journal tells of it.

    Raises `InvalidValue` for what is no whole backup or of a version that is not known, `Conflict` while a
    management system has either file open.
    """
    with told(f"backup {backup} can't be read", "do it again", InvalidValue):
        version = _version(backup, database)
    if database.is_symlink():
        database = database.resolve()
    with (
        told(f"database {database} can't be replaced", "do it again", InvalidValue),
        _beside(database) as new,
        _unused(database),
    ):
        contents = _copied(backup, new, version, author)
        if database.exists():
            shutil.copymode(database, new)
            os.chown(new, database.stat().st_uid, database.stat().st_gid)
        _sync(new)
        kept = _set_aside(database, new.with_name("empty"))
        os.replace(new, database)
        _sync(database.parent)
    return Restored(str(database), [str(path) for path in kept], contents)


@contextmanager
def made(backup: Path, author: Author) -> Iterator[tuple[Path, Contents]]:
    """An SQLite file of the present version to restore a backup from, whose journal tells of it; for a while.

    Raises `InvalidValue` and `Conflict` as `restored` does.
    """
    with told(f"backup {backup} can't be read", "do it again", InvalidValue):
        version = _version(backup)
    with tempfile.TemporaryDirectory(prefix="catenary-") as folder:
        new = Path(folder) / "backup"
        with told(f"backup {backup} can't be copied to {folder}", "do it again", InvalidValue):
            contents = _copied(backup, new, version, author)
        yield new, contents


def _copied(backup: Path, new: Path, version: int, author: Author) -> Contents:
    with reading(backup) as source, closing(sqlite3.connect(new)) as copy:
        source.backup(copy)
    contents = _prepared(new, f"backup {backup}", author)
    return replace(contents, file=str(backup), bytes=backup.stat().st_size, version=version)


def _version(backup: Path, database: Path | None = None) -> int:
    """The version of a backup that is whole, as far as that can be told before it is migrated."""
    backup.open("rb").close()
    same = database is not None and database.exists() and backup.samefile(database)
    if is_locked(backup) or same:
        raise Conflict(f"{backup} is a database in use, and no backup: make one with catenary backup FILE")
    if fault := verdict(backup):
        raise InvalidValue(f"backup {backup} is damaged, or no backup ({fault}): use another")
    with reading(backup) as db:
        return migrations.check(db, f"backup {backup}")


def _prepared(new: Path, where: str, author: Author) -> Contents:
    """What a copy of a backup holds, once it is of the present version; then its journal tells of this.

    Revisions jump to the microseconds of now: none comes back that was told after the backup, in an ETag.
    """
    SqliteStore(new).close()
    contents = _checked(new, where)
    store = SqliteStore(new)
    store.skip(int(time.time() * 1e6))
    ledger = Ledger(store, never, retention=Retention(sys.maxsize, math.inf))
    ledger.tell(Event("restore", author, {}, text=f"from {where}"))
    ledger.close()
    return contents


def _checked(file: Path, where: str) -> Contents:
    """What a file holds; raises `InvalidValue` if it is not whole, or not of the present version."""
    if fault := verdict(file, journal=True):
        raise InvalidValue(f"{where} is damaged, or no backup ({fault}): make another")
    with reading(file) as db:
        version = migrations.check(db, where)
        if version != migrations.VERSION:
            raise InvalidValue(
                f"{where} has version {version} of the store, and this Catenary knows {migrations.VERSION}: "
                "use the catenary that the management system is of"
            )
        chains, operations, journal, latest = db.execute(_COUNTED).fetchone()
    return Contents(str(file), file.stat().st_size, version, chains, operations, journal, latest)


def _set_aside(database: Path, empty: Path) -> list[Path]:
    """Give what is there another name, all parts of it; their new names.

    From then on an empty file stands there. A management system that is started on that, or on a log without
    its file, says that it is damaged, and changes nothing.
    """
    there = [part for part in _PARTS if _part(database, part).exists()]
    names = (_part(database, f".replaced-{number}") for number in count(1))
    free = next(name for name in names if not any(_part(name, part).exists() for part in _PARTS))
    if "" in there:
        os.link(database, free)
    empty.touch()
    os.replace(empty, database)
    for part in filter(None, there):
        os.rename(_part(database, part), _part(free, part))
    return [_part(free, part) for part in there]


def _part(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


@contextmanager
def _unused(database: Path) -> Iterator[None]:
    """Nobody can open it meanwhile; raises `Conflict` if a management system has it open.

    It must not be opened and closed once more: the lock of a process goes with any of its ways to the file.
    """
    if not database.exists():
        yield
        return
    with database.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *LOCKED)
        except (BlockingIOError, PermissionError):
            raise in_use(f"database {database}") from None
        yield


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """Where a file can be made that is to take another's place; what is left there goes."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as folder:
        yield Path(folder) / file.name


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
