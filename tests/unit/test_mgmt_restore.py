"""Backups are put in a database's place without a gap, and older ones brought up to date.

`tests/errors/test_restore.py` does it with real processes.
"""

# ruff: noqa: F811 - a test asks for a fixture by its name

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from catenary.chain import PairState
from catenary.errors import Conflict, InvalidValue
from mgmt_system.crash import never
from mgmt_system.records import SELF
from mgmt_system.store import backups, migrations, under
from mgmt_system.store.damaged import opened
from mgmt_system.store.ledger import Ledger
from tests.unit.mgmt_backups import Restore, again, alter, back_up, restore, site  # noqa: F401
from tests.unit.mgmt_fakes import Site
from tests.unit.test_mgmt_damaged import OWNER, PARTS, damage, files

VERSION_2 = Path(__file__).with_name("version-2.db")
"""A backup that was made by the Catenary of then, not by this one: two chains that serve, one that cools down
with its sessions, and one that is removed."""

# --- catenary restore


def test_a_restored_store_is_as_it_was_and_what_was_there_is_kept(restore: Restore, site: Site) -> None:
    file = back_up(site)
    site.add("shared", name="later")
    before = site.ledger.snapshot().head
    site.close()
    site.path.chmod(0o640)
    code, out, err = restore(file, "--db", site.path, "--why", "the disk broke", "--json")
    assert (code, err) == (0, "")
    kept = f"{site.path}.replaced-1"
    told = json.loads(out)
    assert (told["database"], told["kept"]) == (str(site.path), [kept])
    assert (told["backup"]["file"], told["backup"]["chains"]) == (str(file), 2)
    assert site.path.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in site.path.parent.iterdir()} == {"ms.db", "ms.db.replaced-1"}
    again(site)
    assert site.states() == dict.fromkeys(("c1", "c2"), "active")
    (entry,) = site.ledger.entries(site.ledger.snapshot().head.next - 1, 10**9)
    assert (entry.event.kind, entry.event.text) == ("restore", f"from backup {file}")
    assert (entry.event.author.why, "@" in entry.event.author.who) == ("the disk broke", True)
    ledger = Ledger(opened(Path(kept)), never)
    assert ledger.snapshot().head == before
    ledger.close()


def test_it_says_what_to_do_next(restore: Restore, site: Site) -> None:
    file = back_up(site)
    site.close()
    code, out, _ = restore(file, "--db", site.path)
    assert code == 0
    assert f"{site.path} is now this backup; what was there is kept as {site.path}.replaced-1" in out
    assert "start the management system" in out
    new = site.path.with_name("new.db")
    assert "nothing was there" in restore(file, "--db", new)[1]
    store = opened(new)
    assert not store.damage
    store.close()


def test_a_log_goes_with_its_file(site: Site) -> None:
    """What a management system leaves that was killed."""
    file = back_up(site)
    site.add("shared", name="later")
    left = files(site.path.parent)
    assert left.keys() == {"ms.db", "ms.db-wal"}
    site.close()
    for name, content in left.items():
        (site.path.parent / name).write_bytes(content)
    done = backups.restored(file, site.path, SELF)
    assert done.kept == [f"{site.path}.replaced-1", f"{site.path}.replaced-1-wal"]
    assert again(site).states().keys() == {"c1", "c2"}
    site.close()
    backups.restored(Path(done.kept[0]), site.path, SELF)  # there is a way back
    assert again(site).states().keys() == {"c1", "c2", "later"}


def test_a_lost_file_is_replaced_too(site: Site) -> None:
    file = back_up(site)
    site.close()
    site.path.unlink()
    site.path.with_name("ms.db-wal").write_bytes(b"left")
    assert backups.restored(file, site.path, SELF).kept == [f"{site.path}.replaced-1-wal"]
    assert again(site).states().keys() == {"c1", "c2"}


def test_a_link_to_a_database_stays(site: Site, tmp_path: Path) -> None:
    file = back_up(site)
    site.close()
    link = tmp_path / "link"
    link.symlink_to(site.path)
    assert backups.restored(file, link, SELF).database == str(site.path)
    assert link.is_symlink()


def test_no_etag_comes_back_that_was_told_after_the_backup(site: Site) -> None:
    file, told = back_up(site), []
    for _ in range(3):  # a restore of the same backup once more, too
        site.add("shared")
        site.settle()
        told += [stored.revision for stored in site.ledger.chains() if stored.record.name not in ("c1", "c2")]
        site.close()
        backups.restored(file, site.path, SELF)
        again(site)
    assert len({*told}) == 3


def test_a_database_in_use_is_refused(restore: Restore, site: Site) -> None:
    file = back_up(site)
    site.close()
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(site.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        before = files(site.path.parent)
        code, _, err = restore(file, "--db", site.path)
        assert (code, f"{site.path} is in use by another management system: stop it" in err) == (2, True)
        code, _, err = restore(site.path, "--db", f"{site.path}.other")
        text = f"{site.path} is a database in use, and no backup: make one with catenary backup FILE"
        assert (code, text in err) == (2, True)
        assert files(site.path.parent) == before
    with pytest.raises(Conflict, match="is a database in use"):
        backups.restored(site.path, site.path, SELF)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "newer": (
        lambda file: alter(file, "PRAGMA user_version = 9"),
        "has version 9 of the store, and this Catenary knows versions 2 to 3: use the Catenary that wrote it",
    ),
    "older than all": (
        lambda file: alter(file, "PRAGMA user_version = 1"),
        "has version 1 of the store, and this Catenary knows versions 2 to 3: use the Catenary that wrote it",
    ),
    "of another program": (
        lambda file: alter(file, "PRAGMA application_id = 5"),
        "was not made by Catenary: use another file",
    ),
    "missing": (lambda file: file.unlink(), "can't be read: No such file or directory"),
    "an unreadable chain": (
        lambda file: alter(file, "UPDATE entries SET value = '{' WHERE key LIKE 'chain/c1/%'"),
        "is damaged, or no backup (chain/c1/",
    ),
    "an unreadable entry of the journal": (
        lambda file: alter(file, "UPDATE entries SET value = '{}' WHERE key LIKE 'journal/%2'"),
        "is damaged, or no backup (journal/000000000000002 can't be read (KeyError: 'event'))",
    ),
}


@pytest.mark.parametrize("what", [*REFUSED, *PARTS])
def test_what_is_no_whole_backup_is_refused_and_nothing_is_changed(
    site: Site, tmp_path: Path, what: str
) -> None:
    file = back_up(site)
    for number in range(40):
        site.add("shared", name=f"more{number}")
    if what in REFUSED:
        make, text = REFUSED[what]
        make(file)
    else:
        file.unlink()
        file.write_bytes(damage(back_up(site, "whole").read_bytes(), what))
        text = "is damaged, or no backup ("
    site.close()
    before = files(site.path.parent)
    with pytest.raises(InvalidValue) as info:
        backups.restored(file, site.path, SELF)
    assert str(info.value).startswith(f"backup {file} ")
    assert text in str(info.value)
    assert files(site.path.parent) == before


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_at_no_moment_would_a_management_system_start_on_an_old_or_an_empty_store(
    site: Site, monkeypatch: pytest.MonkeyPatch, at: int, log: bool
) -> None:
    """It dies between any two of its steps."""
    file = back_up(site)
    site.add("shared", name="later")
    left = files(site.path.parent)
    site.close()
    if log:
        for name, content in left.items():
            (site.path.parent / name).write_bytes(content)
    steps = []

    def dying(step: Callable[..., None]) -> Callable[..., None]:
        def act(*paths: Path) -> None:
            if len(steps) == at:
                raise KeyboardInterrupt
            steps.append(step)
            step(*paths)

        return act

    for name in ("link", "rename", "replace"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    died = False
    try:
        backups.restored(file, site.path, SELF)
    except KeyboardInterrupt:
        died = True
    monkeypatch.undo()
    assert died == (at < (4 if log else 3))
    store = opened(site.path)
    if not store.damage:
        names = {key.key.split("/")[1] for key in store.range(*under("chain/"))}
        assert names == ({"c1", "c2", "later"} if at == 0 or (at == 1) else {"c1", "c2"})
    store.close()
    backups.restored(file, site.path, SELF)  # once more, and all is well
    assert again(site).states().keys() == {"c1", "c2"}


# --- migrations


def older(file: Path) -> Path:
    """As a version would have it in which values had another name."""
    return alter(file, "ALTER TABLE entries RENAME COLUMN value TO text", "PRAGMA user_version = 1")


def to_2(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE entries RENAME COLUMN text TO value")


def test_an_older_version_is_migrated_at_a_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(migrations.MIGRATIONS, 1, to_2)
    site.close()
    older(site.path)
    assert again(site).states() == dict.fromkeys(("c1", "c2"), "active")
    site.close()
    database = sqlite3.connect(site.path)
    assert migrations.owner(database) == (migrations.APPLICATION_ID, migrations.VERSION)
    database.close()


def test_a_backup_of_an_older_version_is_migrated(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(migrations.MIGRATIONS, 1, to_2)
    file = older(back_up(site))
    whole = file.read_bytes()
    site.add("shared", name="later")
    site.close()
    done = backups.restored(file, site.path, SELF)
    assert (done.backup.version, done.backup.chains) == (1, 2)
    assert again(site).states() == dict.fromkeys(("c1", "c2"), "active")
    assert file.read_bytes() == whole


def test_a_backup_of_version_2_is_restored(site: Site, tmp_path: Path) -> None:
    """It knows of no canaries, and of no verdicts of probes; and all goes on from it."""
    file = Path(shutil.copy(VERSION_2, tmp_path))
    site.close()
    backup = backups.restored(file, site.path, SELF).backup
    assert (backup.version, backup.chains, backup.operations, backup.journal) == (2, 3, 6, 25)
    assert file.read_bytes() == VERSION_2.read_bytes()
    again(site)
    assert site.states() == {"c1": "active", "c2": "active", "gone": "removed", "cools": "cooling"}
    now = site.ledger.snapshot()
    assert {record.canary for record in now.chains} == {None}
    assert (now.head.verdicts, now.head.epochs) == ({}, {"main": 7})
    kinds = Counter(entry.event.kind for entry in site.ledger.entries(1, 10**9))
    assert kinds == {"add": 4, "state": 12, "epoch": 7, "remove": 2, "restore": 1}
    site.add("shared", name="later")
    site.settle()
    assert site.states() == {"c1": "active", "c2": "active", "gone": "removed", "cools": "removed"} | {
        "later": "active"
    }


def test_several_versions_are_gone_through_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    database, seen = sqlite3.connect(":memory:"), []
    monkeypatch.setattr(migrations, "VERSION", 5)
    for version in (3, 4):
        monkeypatch.setitem(migrations.MIGRATIONS, version, lambda db, at=version: seen.append(at))
    migrations.own(database, 3)
    migrations.migrate(database, "it")
    assert (seen, migrations.owner(database)) == ([3, 4], (migrations.APPLICATION_ID, 5))
    migrations.own(database, 1)
    with pytest.raises(
        InvalidValue, match="it has version 1 of the store, and this Catenary knows versions 2 to 5"
    ):
        migrations.migrate(database, "it")
    database.close()


def test_a_migration_that_fails_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(db: sqlite3.Connection) -> None:
        to_2(db)
        db.execute("SELECT 1 FROM nowhere")

    monkeypatch.setitem(migrations.MIGRATIONS, 1, fails)
    file = older(back_up(site))
    site.close()
    before = older(site.path).read_bytes()
    with pytest.raises(InvalidValue, match=r"ms\.db can't be opened: no such table: nowhere"):
        opened(site.path)
    assert site.path.read_bytes() == before
    with pytest.raises(InvalidValue, match="no such table: nowhere"):
        backups.restored(file, site.path, SELF)
    assert site.path.read_bytes() == before


# --- what the other parts have had since


def test_a_chain_that_was_added_since_is_left_alone_and_can_be_taken_over(site: Site) -> None:
    file = back_up(site)
    site.add("n1", name="since")
    site.settle()
    pair = site.master_pair("since")
    site.master.sessions[pair] = 7
    steered, epoch = dict(site.controller.steered), site.master.epoch
    site.close()
    backups.restored(file, site.path, SELF)
    again(site).settle()
    assert site.states().keys() == {"c1", "c2"}
    assert (site.controller.steered, site.master.states[pair]) == (steered, PairState.ACTIVE)
    assert site.master.epoch == epoch
    # Nobody knows that its tags are in use but the other parts, and they refuse them.
    with pytest.raises(Conflict, match="is in use by chain 'since'"):
        site.add("n2")
    site.add("n1", name="since", tags={"forward": pair.forward, "reverse": pair.reverse})
    site.settle()
    assert site.states()["since"] == "active"
    assert (site.master.sessions[pair], site.controller.steered) == (7, steered)


def test_a_chain_that_was_removed_since_comes_back(site: Site) -> None:
    file = back_up(site)
    site.manager.remove("c2", force=False)
    site.settle()
    assert "c2" not in site.controller.steered
    site.close()
    backups.restored(file, site.path, SELF)
    again(site).settle()
    assert site.states() == dict.fromkeys(("c1", "c2"), "active")
    assert site.master.states[site.master_pair("c2")] is PairState.ACTIVE
