"""`catenary backup` and `catenary restore`: the store as a file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from catenary import moments, sizes
from catenary.client import ManagementClient, user
from catenary.options import LogLevel
from mgmt_system import tables
from mgmt_system.options import EtcdCa, EtcdCert, EtcdKey, EtcdUser, Json, Why
from mgmt_system.records import Author

if TYPE_CHECKING:  # no other command should wait for what only these two need
    from mgmt_system.store import backups


def backup(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: Json = False,
) -> None:
    """Write all that the management system has stored, as of one moment, into a file. Changes go on.

    The file is there once it is whole and checked, for its owner alone to read. Keep it on another disk.

    Examples:

        catenary backup /mnt/backups/ms-monday.db

        catenary backup --force /mnt/backups/ms-latest.db
    """
    from mgmt_system.store import backups

    with ManagementClient.from_environment() as client:
        contents = backups.saved(client.backup(), file, force=force)
    tables.show(contents, json, _contents)


def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    db: Annotated[
        str, typer.Option(help="Database of the management system, which is stopped; or etcd://...")
    ],
    etcd_ca: EtcdCa = None,
    etcd_cert: EtcdCert = None,
    etcd_key: EtcdKey = None,
    etcd_user: EtcdUser = None,
    why: Why = None,
    json: Json = False,
) -> None:
    """Put a backup in the place of a database. What was there is kept beside it; of etcd, beside the backup.

    The management system must be stopped, all that share the database, and started again afterwards. It goes
    by the backup then: chains that were removed since come back, and it does not know those that were added
    since, which go on. What catenary export said before brings all of them back: catenary apply.

    Examples:

        catenary restore /mnt/backups/ms-monday.db --db /var/lib/catenary/ms.db

        catenary restore /mnt/backups/ms-monday.db --db etcd://127.0.0.1:2379,10.0.0.2:2379
    """
    from catenary import logs
    from catenary.tls import Identity
    from mgmt_system.store import backups, transfer
    from mgmt_system.store.access import Access
    from mgmt_system.store.opening import shared

    logs.configure(LogLevel.WARNING)
    access = Access(etcd_ca, Identity.given(etcd_cert, etcd_key, "--etcd-cert and --etcd-key"), etcd_user)
    endpoints, author = shared(db, access), Author(user(), why)
    if endpoints is None:
        restored = backups.restored(file, Path(db), author)
    else:
        restored = transfer.restored(file, endpoints, access, author)
    tables.show(restored, json, _restored)


def _contents(item: backups.Contents) -> RenderableType:
    rows = tables.table("backup", "size", "version", "chains", "operations", "journal", "last change")
    counts = (str(number) for number in (item.version, item.chains, item.operations, item.journal))
    latest = None if item.latest is None else moments.iso(item.latest)
    rows.add_row(tables.cell(item.file), sizes.text(item.bytes), *counts, tables.cell(latest))
    return rows


def _restored(item: backups.Restored) -> RenderableType:
    kept = f"what was there is kept as {', '.join(item.kept)}" if item.kept else "nothing was there"
    return Group(
        _contents(item.backup),
        Text(f"{item.database} is now this backup; {kept}"),
        Text("start the management system, and look at what catenary plan says of the last export:"),
        Text("it does not know chains that were added since this backup, and they go on"),
    )
