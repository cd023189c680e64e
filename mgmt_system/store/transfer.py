"""A backup in etcd's place of a database: all that is there goes, and is kept in a file.

Nobody may write meanwhile: who restores leads, and begins only where nobody does. It takes several
transactions, the journal's head last: so who reads along goes on with what it read before. If it ends halfway
a mark says so, and no management system starts on that.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

from catenary.errors import Conflict, Unavailable
from mgmt_system.records import Author
from mgmt_system.store import backups, rows
from mgmt_system.store.access import Access
from mgmt_system.store.backups import Restored
from mgmt_system.store.etcd import HALFWAY, EtcdStore
from mgmt_system.store.gateway import Endpoints
from mgmt_system.store.leadership import LEASE_S
from mgmt_system.store.sqlite import SqliteStore

PATIENCE_S = LEASE_S + 1.0
"""A lease whose holder died has ended by then."""
_POLL_S = 0.05
_ENTRIES, _BYTES = 2000, 2_000_000
"""In one transaction; etcd is told to take twice that, and four times."""
_ALL = ("!", "~")


def restored(backup: Path, endpoints: Endpoints, access: Access, author: Author) -> Restored:
    """Put a backup in the place of what etcd has. Raises as `backups.restored` does; `Conflict` while a
    management system leads there."""
    with backups.made(backup, author) as (file, contents), closing(SqliteStore(file)) as source:
        entries = {entry.key: entry.value for entry in source.range(*_ALL)}
        leader = f"catenary-restore://{socket.gethostname()}"
        with closing(EtcdStore(endpoints, leader, access, halfway=True)) as store:
            _lead(store)
            kept = _kept(store, backup)
            _replace(store, entries)
    return Restored(store.where, [str(path) for path in kept], contents)


def _lead(store: EtcdStore) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not store.standing.term:
        if time.monotonic() > deadline:
            standing = store.standing
            if standing.leader is None:
                raise Unavailable(f"{store.where} can't be written: {standing.fault or 'nobody may lead'}")
            raise Conflict(
                f"{store.where} is in use: the management system at {standing.leader} leads; stop all that "
                "share it, and start them again afterwards"
            )
        time.sleep(_POLL_S)


def _kept(store: EtcdStore, backup: Path) -> list[Path]:
    """A copy of what is there, beside the backup, if anything is, and not half of another backup."""
    if store.get(HALFWAY) is not None or not store.range(*_ALL, limit=1):
        return []
    names = (backup.with_name(f"{backup.name}.replaced-{number}") for number in count(1))
    file = next(name for name in names if not name.exists())
    file.touch(0o600)
    store.copy(file)
    return [file]


def _replace(store: EtcdStore, entries: Mapping[str, str]) -> None:
    gone = [entry.key for entry in store.range(*_ALL) if entry.key not in entries]
    changes: list[tuple[str, str | None]] = [(key, None) for key in gone if key != HALFWAY]
    changes += [(key, value) for key, value in entries.items() if key != rows.HEAD]
    store.commit({HALFWAY: "1"}, {})
    for portion in _portions(changes):
        store.commit(portion, {})
    store.commit({rows.HEAD: entries.get(rows.HEAD), HALFWAY: None}, {})


def _portions(changes: Iterable[tuple[str, str | None]]) -> Iterator[dict[str, str | None]]:
    portion: dict[str, str | None] = {}
    size = 0
    for key, value in changes:
        portion[key] = value
        size += len(key) + len((value or "").encode())
        if len(portion) >= _ENTRIES or size >= _BYTES:
            yield portion
            portion, size = {}, 0
    if portion:
        yield portion
