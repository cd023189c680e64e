"""A management system with two chains, and its backups."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt_system.store import backups
from mgmt_system.store.damaged import opened
from tests.unit.mgmt_commands import commands, run_command
from tests.unit.mgmt_fakes import Site
from tests.unit.test_mgmt_cli import Run

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
