"""The layouts of the store's file by version, and what makes one that of the next.

A file of an earlier version is brought up to date when it is opened: at a start, and when a backup is
restored. To change the layout: raise `VERSION`, and tell here how a file gets there from the version before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from catenary.errors import InvalidValue

APPLICATION_ID = 0x43415445
VERSION = 3
Migration = Callable[[sqlite3.Connection], object]


def _to_3(db: sqlite3.Connection) -> None:
    """Chains may be canaries, and the journal's head knows the verdicts of probes: there was neither.

    Nothing is to be written, for both have defaults, which etcd needs: it has no migrations. The number keeps
    a Catenary away that would take such records for damaged ones.
    """


MIGRATIONS: dict[int, Migration] = {2: _to_3}
"""By version: what makes a file of it one of the next version, in a transaction that is open."""


def owner(db: sqlite3.Connection) -> tuple[int, int]:
    """Whose file it is, and the version of its layout."""
    one, two = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    return int(one), int(two)


def own(db: sqlite3.Connection, version: int = VERSION) -> None:
    """Say whose file it is, and of which version."""
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version}")


def check(db: sqlite3.Connection, where: str) -> int:
    """The version of a file; raises `InvalidValue` for one that is not ours, or can't be made the present."""
    application, version = owner(db)
    if application != APPLICATION_ID:
        raise InvalidValue(f"{where} was not made by Catenary: use another file")
    if version not in (*MIGRATIONS, VERSION):
        first = min([*MIGRATIONS, VERSION])
        known = f"version {VERSION}" if first == VERSION else f"versions {first} to {VERSION}"
        raise InvalidValue(
            f"{where} has version {version} of the store, and this Catenary knows {known}: use the Catenary "
            "that wrote it, or a later one"
        )
    return version


def migrate(db: sqlite3.Connection, where: str) -> None:
    """Bring a file to the present version, in the transaction that is open; raises as `check` does."""
    for version in range(check(db, where), VERSION):
        MIGRATIONS[version](db)
        own(db, version + 1)
