"""Backups: of one moment, whole or not there at all.

`tests/errors/test_restore.py` takes one from a real process.
"""

# ruff: noqa: F811 - a test asks for a fixture by its name

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from catenary.errors import Conflict, InsufficientStorage, InvalidValue, Unavailable
from mgmt_system import backup_rest
from mgmt_system.rest import create
from mgmt_system.store import backups, migrations, sqlite, under
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore
from tests.serving import calling
from tests.unit.mgmt_backups import again, run, site  # noqa: F401
from tests.unit.mgmt_fakes import Site
from tests.unit.test_mgmt_cli import Run
from tests.unit.test_mgmt_damaged import damage, files

KEYS = 2000


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
