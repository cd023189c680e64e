"""The contract of a key-value store on SQLite, and what that adds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from catenary.errors import Conflict, InvalidValue
from mgmt_system.records import Author
from mgmt_system.store.changes import OPERATIONS_KEPT, REMOVED_KEPT
from mgmt_system.store.sqlite import SqliteStore
from mgmt_system.views import ChainViews
from tests.store_contract import CHECKS, Check, revision
from tests.unit.mgmt_fakes import Site


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "ms.db")) as store:
        check(store, tmp_path)


def test_it_is_still_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "ms.db"
    store = SqliteStore(path)
    store.commit({"a": "1"}, {})
    first = revision(store, "a")
    store.close()
    store = SqliteStore(path)
    assert revision(store, "a") == first
    store.close()


def test_a_file_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ms.db"
    store = SqliteStore(path)
    with pytest.raises(Conflict, match=r"ms\.db is in use by another management system"):
        SqliteStore(path)
    store.close()
    SqliteStore(path).close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ms.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(InvalidValue, match=r"ms\.db can't be opened: file is not a database"):
        SqliteStore(path)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (x)")
    database.commit()
    database.close()
    with pytest.raises(InvalidValue, match=r"other\.db was not made by Catenary: use another file"):
        SqliteStore(path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"no/ms\.db can't be opened"):
        SqliteStore(tmp_path / "no" / "ms.db")


def test_the_oldest_removed_chains_and_operations_are_forgotten() -> None:
    site = Site()
    for _ in range(OPERATIONS_KEPT // 2 + 10):
        site.add("n1")
        site.settle()
        site.manager.remove(site.manager.chains()[0].name, force=True)
        site.settle()
    assert len(site.ledger.chains()) <= REMOVED_KEPT + 1
    assert len(site.ledger.operations()) <= OPERATIONS_KEPT + 2
    newest = site.ledger.operations()[-1]
    assert (newest.kind, newest.state) == ("remove", "succeeded")
    site.close()


def test_who_comes_second_reads_nothing_anew() -> None:
    """With a thousand chains that would take long, and each of their views would be made anew."""
    site = Site()
    for nf in ("n1", "n2"):
        site.add(nf)
    before = site.ledger.snapshot()
    first, second = before.listed
    author = Author("somebody")
    heavier = replace(first.record, chain=replace(first.record.chain, weight=7))
    assert site.ledger.weigh("weight", [(first, heavier)], author)
    assert not site.ledger.weigh("weight", [(first, heavier)], author)
    after = site.ledger.snapshot()
    assert after.stored(first.record) != first
    assert after.stored(second.record) is second
    site.close()


def test_chains_are_in_order_of_their_age_whatever_the_clock_does() -> None:
    site = Site()
    for nf, moment in (("n1", 1000.0), ("n2", 990.0), ("n3", 1000.0)):
        site.now = moment
        site.add(nf, name={"n1": "z", "n2": "m", "n3": "a"}[nf])
    assert [record.name for record in site.ledger.snapshot().chains] == ["m", "a", "z"]
    site.settle()
    assert [record.name for record in site.ledger.snapshot().chains] == ["m", "a", "z"]
    site.restart()
    assert [record.name for record in site.ledger.snapshot().chains] == ["m", "a", "z"]
    site.close()


def test_a_view_is_made_once_until_the_chain_or_its_reason_changes() -> None:
    views = ChainViews()
    site = Site()
    site.add("n1")
    (stored,) = site.ledger.snapshot().present
    first = views.show(stored, None)
    assert views.show(stored, None) is first
    assert views.show(stored, "it waits").view.reason == "it waits"
    site.settle()
    (later,) = site.ledger.snapshot().present
    assert views.show(later, None).view.state == "active"
    assert first.status.sessions is None
    site.close()
