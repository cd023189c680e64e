"""What every key-value store promises, as checks that are run on each kind of store.

`tests/unit/test_mgmt_store.py` runs them on SQLite, `tests/netns/test_etcd.py` on etcd.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from mgmt_system.store import Entry, KeyValueStore, under

Check = Callable[[KeyValueStore, Path], None]


def revision(store: KeyValueStore, key: str) -> int:
    entry = store.get(key)
    assert entry is not None
    return entry.revision


def what_was_written_is_read(store: KeyValueStore, folder: Path) -> None:
    assert store.get("a/1") is None
    assert store.commit({"a/1": "x", "a/2": "ÿ 鎖", "b/1": ""}, {})
    entry = store.get("a/1")
    assert isinstance(entry, Entry)
    assert (entry.key, entry.value) == ("a/1", "x")
    assert [(found.key, found.value) for found in store.range(*under("a/"))] == [
        ("a/1", "x"),
        ("a/2", "ÿ 鎖"),
    ]
    assert [found.value for found in store.range(*under("b/"))] == [""]


def a_range_has_a_limit_and_two_directions(store: KeyValueStore, folder: Path) -> None:
    store.commit({f"a/{number}": str(number) for number in range(5)}, {})
    assert [entry.value for entry in store.range("a/1", "a/4")] == ["1", "2", "3"]
    assert [entry.value for entry in store.range("a/1", "a/4", limit=2)] == ["1", "2"]
    assert [entry.value for entry in store.range("a/1", "a/4", limit=2, descending=True)] == ["3", "2"]
    assert store.range("b/", "c/") == []


def a_prefix_is_taken_literally(store: KeyValueStore, folder: Path) -> None:
    store.commit({"a_1": "x", "ab1": "y", "a%": "z"}, {})
    assert [entry.key for entry in store.range(*under("a_"))] == ["a_1"]
    assert [entry.key for entry in store.range(*under("a%"))] == ["a%"]


def all_or_nothing(store: KeyValueStore, folder: Path) -> None:
    store.commit({"a": "1"}, {})
    stale = revision(store, "a")
    assert store.commit({"a": "2"}, {"a": stale})
    assert not store.commit({"a": "3", "b": "3"}, {"a": stale})
    assert store.get("b") is None
    assert store.range(*under("a"))[0].value == "2"


def zero_expects_that_there_is_no_such_key(store: KeyValueStore, folder: Path) -> None:
    assert store.commit({"a": "1"}, {"a": 0})
    assert not store.commit({"a": "2"}, {"a": 0})


def one_commit_is_one_revision(store: KeyValueStore, folder: Path) -> None:
    written = store.commit({"a": "1", "b": "1"}, {})
    assert revision(store, "a") == revision(store, "b") == written
    later = store.commit({"b": None, "c": "1"}, {"a": written})
    assert (revision(store, "a"), revision(store, "c")) == (written, later)
    assert later > written


def a_revision_never_comes_back(store: KeyValueStore, folder: Path) -> None:
    store.commit({"a": "1"}, {})
    first = revision(store, "a")
    store.commit({"a": None}, {})
    assert store.get("a") is None
    store.commit({"a": "1"}, {})
    assert revision(store, "a") > first
    assert not store.commit({"a": "2"}, {"a": first})


def of_racing_writers_one_wins_each_round(store: KeyValueStore, folder: Path) -> None:
    store.commit({"n": "0"}, {})

    def count() -> None:
        for _ in range(25):
            while True:
                entry = store.get("n")
                assert entry is not None
                if store.commit({"n": str(int(entry.value) + 1)}, {"n": entry.revision}):
                    break

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.range(*under("n"))[0].value == "100"


def an_apply_of_a_thousand_chains_is_one_commit(store: KeyValueStore, folder: Path) -> None:
    store.commit({"gate": ""}, {})
    many = {f"{kind}/{number}": "-" * 1000 for kind in ("chain", "journal") for number in range(1000)}
    first = store.commit(many, {"gate": revision(store, "gate")} | dict.fromkeys(many, 0))
    assert {entry.revision for entry in store.range(*under("chain/"))} == {first}
    assert not store.commit(dict.fromkeys(many), dict.fromkeys(many, first) | {"gate": 0})
    assert store.commit(dict.fromkeys(many), dict.fromkeys(many, first))
    assert store.range(*under("chain/")) == []


def a_copy_has_all(store: KeyValueStore, folder: Path) -> None:
    store.commit({f"a/{number}": "x" for number in range(1500)}, {})
    store.commit({"a/7": None, "b": "y"}, {})
    entries = store.range("a/", "c")
    store.copy(folder / "copy")
    with closing(sqlite3.connect(folder / "copy")) as db:
        found = db.execute("SELECT key, value, revision FROM entries ORDER BY key").fetchall()
    assert [Entry(*row) for row in found] == entries


CHECKS: tuple[Check, ...] = (
    what_was_written_is_read,
    a_range_has_a_limit_and_two_directions,
    a_prefix_is_taken_literally,
    all_or_nothing,
    zero_expects_that_there_is_no_such_key,
    one_commit_is_one_revision,
    a_revision_never_comes_back,
    of_racing_writers_one_wins_each_round,
    an_apply_of_a_thousand_chains_is_one_commit,
    a_copy_has_all,
)
