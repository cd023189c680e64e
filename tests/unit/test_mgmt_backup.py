"""Backups: of one moment, whole or not there at all, and put in a database's place without a gap.

`tests/errors/test_restore.py` does it with real processes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from catenary.chain import PairState
from catenary.errors import Conflict, InsufficientStorage, InvalidValue, Unavailable
from mgmt_system import backup_rest
from mgmt_system.crash import never
from mgmt_system.records import SELF
from mgmt_system.rest import create
from mgmt_system.store import backups, migrations, sqlite, under
from mgmt_system.store.damaged import opened
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore
from tests.serving import calling
from tests.unit.mgmt_commands import commands, run_command
from tests.unit.mgmt_fakes import Site
from tests.unit.test_mgmt_cli import Run
from tests.unit.test_mgmt_damaged import OWNER, PARTS, damage, files

KEYS = 2000
Said = tuple[int, str, str]
Restore = Callable[..., Said]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """With two active chains."""
    (tmp_path / "ms").mkdir()
    site = Site(tmp_path / "ms" / "ms.db")
    site.now = time.time()  # or the journal's entries would be too old for the service
    for name in ("c1", "c2"):
        site.add("shared", name=name)
        site.settle()
    yield site
    site.close()


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    with commands(site, monkeypatch, capsys) as run:
        yield run


@pytest.fixture
def restore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Restore:
    def restore(*words: object) -> Said:
        capsys.readouterr()
        code = run_command(monkeypatch, "restore", *map(str, words))
        return code, *capsys.readouterr()

    return restore


def again(site: Site) -> Site:
    site.store = opened(site.path)
    site.restart()
    return site


def back_up(site: Site, name: str = "backup") -> Path:
    file = site.path.parent.parent / name
    with backups.taken(site.ledger) as copy:
        backups.saved([copy.read()], file, force=False)
    return file


def alter(file: Path, *statements: str) -> Path:
    database = sqlite3.connect(file)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return file


# --- of one moment


def big(path: Path) -> SqliteStore:
    """A store of which each write rewrites the first and the last key."""
    store = SqliteStore(path)
    store.commit({f"k/{number:05d}": "x" * 500 for number in range(KEYS)} | {"n": "0"}, {})
    write(store)
    return store


def write(store: SqliteStore) -> None:
    entry = store.get("n")
    assert entry is not None
    number = str(int(entry.value) + 1)
    store.commit({"k/00000": number, f"k/{KEYS - 1:05d}": number, "n": number}, {})


def told_by(copy: Path) -> str:
    """The number of the last write that is in a copy: all of it, or nothing."""
    store = SqliteStore(copy)
    values = {key: entry.value for key in ("k/00000", f"k/{KEYS - 1:05d}", "n") if (entry := store.get(key))}
    assert len(values) == 3
    assert len({*values.values()}) == 1, values
    assert len(store.range(*under("k/"))) == KEYS
    store.close()
    return values["n"]


def test_what_is_written_between_two_steps_of_a_copy_is_in_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = big(tmp_path / "ms.db")
    turns = []

    def turn(_: float) -> None:
        turns.append(1)
        write(store)

    monkeypatch.setattr(sqlite, "_COPIED_AT_ONCE", 16)
    monkeypatch.setattr(sqlite, "time", SimpleNamespace(sleep=turn))
    store.copy(tmp_path / "copy")
    assert len(turns) > 10
    entry = store.get("n")
    assert entry is not None
    # The last turn comes when all is copied, and is too late.
    assert int(entry.value) - int(told_by(tmp_path / "copy")) <= 1
    store.close()


def test_a_copy_under_concurrent_writes_is_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = big(tmp_path / "ms.db")
    monkeypatch.setattr(sqlite, "_COPIED_AT_ONCE", 16)
    over = threading.Event()

    def keep_writing() -> None:
        while not over.is_set():
            write(store)

    writers = [threading.Thread(target=keep_writing)]
    for writer in writers:
        writer.start()
    try:
        told = []
        for number in range(5):
            store.copy(tmp_path / f"copy{number}")
            told.append(int(told_by(tmp_path / f"copy{number}")))
    finally:
        over.set()
        for writer in writers:
            writer.join()
    assert told == sorted(told)
    assert told[-1] > told[0], "no writer got its turn"
    store.close()


# --- catenary backup


def test_a_backup_is_whole_its_owners_alone_and_told(run: Run, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    code, out, err = run(f"backup {file} --json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "version": migrations.VERSION,
        "chains": 2,
        "operations": 2,
        "journal": site.ledger.snapshot().head.next - 1,
        "latest": site.ledger.snapshot().head.latest,
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"ms", "backup"}
    code, out, _ = run(f"backup {tmp_path / 'other'}")
    assert code == 0
    assert out.split()[:2] == ["backup", "size"]


def test_a_file_is_replaced_only_by_force(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("mine")
    code, _, err = run(f"backup {file}")
    assert (code, err) == (2, f"catenary: {file} exists: choose another name, or use --force\n")
    assert file.read_text() == "mine"
    assert run(f"backup {file} --force")[0] == 0
    assert file.read_bytes().startswith(b"SQLite format 3")
    code, _, err = run(f"backup {tmp_path} --force")
    assert (code, err) == (2, f"catenary: {tmp_path} can't be written: Is a directory\n")
    code, _, err = run(f"backup {tmp_path}/no/backup")
    assert (code, err) == (2, f"catenary: {tmp_path}/no/backup can't be written: No such file or directory\n")


def test_a_file_that_comes_meanwhile_stays(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "backup"

    def pieces() -> Iterator[bytes]:
        with backups.taken(site.ledger) as copy:
            yield copy.read()
        file.write_text("mine")

    with pytest.raises(Conflict, match="exists: choose another name"):
        backups.saved(pieces(), file, force=False)
    assert file.read_text() == "mine"


def test_a_cut_transfer_leaves_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(copy: object) -> Iterator[bytes]:
        yield b"SQLite format 3"
        raise ConnectionError

    monkeypatch.setattr(backup_rest, "_pieces", cut)
    (tmp_path / "older").write_text("older")
    for words in (f"backup {tmp_path / 'backup'}", f"backup --force {tmp_path / 'older'}"):
        code, _, err = run(words)
        assert (code, "can't be reached: peer closed connection" in err) == (3, True), err
    assert files(tmp_path / "ms")
    assert {path.name for path in tmp_path.iterdir()} == {"ms", "older"}
    assert (tmp_path / "older").read_text() == "older"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda whole: whole[:-4096], r"is damaged, or no backup \("),
        (lambda whole: whole[:68] + b"\0\0\0\0" + whole[72:], "was not made by Catenary: use another file"),
        (lambda whole: whole[:60] + b"\0\0\0\x09" + whole[64:], "has version 9 of the store, and this Cat"),
    ],
)
def test_what_comes_is_checked(
    site: Site, tmp_path: Path, change: Callable[[bytes], bytes], fault: str
) -> None:
    with backups.taken(site.ledger) as copy, pytest.raises(InvalidValue, match=fault) as info:
        backups.saved([change(copy.read())], tmp_path / "backup", force=False)
    assert str(info.value).startswith(f"what the management system sent for {tmp_path / 'backup'} ")
    assert {path.name for path in tmp_path.iterdir()} == {"ms"}


def test_a_damaged_store_is_not_backed_up(site: Site) -> None:
    site.close()
    site.path.write_bytes(damage(site.path.read_bytes(), "half"))
    again(site)
    answer = calling(create(site.running(), None)).get("/v1/backup")
    assert (answer.status_code, answer.json()["detail"]) == (503, site.store.damage)


def test_a_store_that_is_damaged_under_way_is_not_backed_up(site: Site) -> None:
    assert isinstance(site.store, SqliteStore)
    site.store._db.execute("UPDATE entries SET value = '{' WHERE key LIKE 'chain/c1/%'")
    with pytest.raises(
        Unavailable, match=r"ms\.db is damaged \(chain/c1/.* so there is nothing whole to copy"
    ):
        backups.taken(site.ledger)


def test_a_full_disk_for_the_copy_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = calling(create(site.running(), None))
    monkeypatch.setattr(Ledger, "copy", lambda self, file: self._store.copy(Path("/dev/full")))
    answer = client.get("/v1/backup")
    assert answer.status_code == InsufficientStorage.status
    assert answer.json()["detail"].startswith(f"database {site.path} can't be copied to ")
    assert answer.json()["detail"].endswith(": its disk is full; make room, and ask again")


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
        "has version 9 of the store, and this Catenary knows version 2: use the Catenary that wrote it",
    ),
    "older than all": (
        lambda file: alter(file, "PRAGMA user_version = 1"),
        "has version 1 of the store, and this Catenary knows version 2: use the Catenary that wrote it",
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
    assert migrations.owner(database) == (migrations.APPLICATION_ID, 2)
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


def test_several_versions_are_gone_through_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    database, seen = sqlite3.connect(":memory:"), []
    monkeypatch.setattr(migrations, "VERSION", 5)
    for version in (3, 4):
        monkeypatch.setitem(migrations.MIGRATIONS, version, lambda db, at=version: seen.append(at))
    migrations.own(database, 3)
    migrations.migrate(database, "it")
    assert (seen, migrations.owner(database)) == ([3, 4], (migrations.APPLICATION_ID, 5))
    migrations.own(database, 2)
    with pytest.raises(
        InvalidValue, match="it has version 2 of the store, and this Catenary knows versions 3 to 5"
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
