"""The store on a real etcd node: the contract that SQLite keeps too, who leads, and what is refused.

Namespaces take longer to make than most of this takes: so there are two tests of several parts each.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catenary import certs
from catenary.errors import Conflict, InsufficientStorage, InvalidValue, Unavailable
from catenary.token import write_private
from mgmt_system.crash import never
from mgmt_system.journal import Event
from mgmt_system.records import SELF, Author
from mgmt_system.store import NotLeader, backups, transfer
from mgmt_system.store.access import Access
from mgmt_system.store.etcd import HALFWAY, EtcdStore
from mgmt_system.store.gateway import Endpoints
from mgmt_system.store.leadership import LEASE_S
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore
from tests.isolation import isolated
from tests.small_disk import fill, mounted
from tests.store_contract import CHECKS
from topologies.etcd import Nodes, etcd
from topologies.services import wait_until

LAID_OUT_MB = 124
"""What etcd takes at its start for the log that is to come: two files of 64,000,000 bytes."""
pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs etcd: run tools/install.sh test")


@contextmanager
def opened(nodes: Nodes, url: str = "http://one", access: Access = Access()) -> Iterator[EtcdStore]:
    with closing(EtcdStore(Endpoints.parse(nodes.url), url, access)) as store:
        yield store


@contextmanager
def leading(nodes: Nodes, url: str = "http://one", access: Access = Access()) -> Iterator[EtcdStore]:
    with opened(nodes, url, access) as store:
        wait_until(lambda: store.standing.term, f"{url} leads")
        yield store


def keeps_the_contract(nodes: Nodes, folder: Path) -> None:
    with leading(nodes) as store:
        for check in CHECKS:
            check(store, folder)
            store.commit({entry.key: None for entry in store.range("!", "~")}, {})


def one_leads_and_no_other_writes(nodes: Nodes) -> None:
    with leading(nodes) as one, opened(nodes, "http://two") as two:
        one.commit({"a": "1"}, {})
        wait_until(lambda: two.standing.leader == "http://one", "the other knows who leads")
        with pytest.raises(
            NotLeader, match="this management system follows, and changes nothing: http://one"
        ):
            two.commit({"a": "2"}, {})
        term = one.standing.term
        one._leadership._stop.set()  # it hangs, and does not know that its lease ends
        wait_until(lambda: two.standing.term, "the other one leads")
        two.commit({"a": "2"}, {})
        one._leadership._term, one._leadership._until = term, float("inf")
        with pytest.raises(NotLeader):
            one.commit({"a": "3"}, {})
        assert not one.standing.term
        entry = one.get("a")
        assert entry is not None
        assert entry.value == "2"


def who_stops_gives_up_its_lease(nodes: Nodes) -> None:
    with ExitStack() as stack:
        with leading(nodes):
            two = stack.enter_context(opened(nodes, "http://two"))
            wait_until(lambda: two.standing.leader, "it follows")
        stopped = time.monotonic()
        wait_until(lambda: two.standing.term, "the other one leads")
        assert time.monotonic() - stopped < LEASE_S


def a_commit_whose_answer_was_lost_is_done_once(nodes: Nodes) -> None:
    with leading(nodes) as store:
        lost: list[Any] = []
        ask = store._gateway.ask

        def lose(node: str, path: str, body: Any, patience: float) -> Any:
            answer = ask(node, path, body, patience)
            if path == "kv/txn" and len(lost) < 2:
                lost.append(body)
                raise Unavailable(f"{node}: timed out")
            return answer

        store._gateway.ask = lose  # type: ignore[method-assign]
        first = store.commit({"once": "1"}, {"once": 0})
        assert [(entry.value, entry.revision) for entry in store.range("once", "oncf")] == [("1", first)]
        second = store.commit({"once": "2"}, {"once": first})
        for late in lost:  # a node that hung sends it on at last
            assert not ask(nodes.at(0), "kv/txn", late).get("succeeded")
        entry = store.get("once")
        assert entry is not None
        assert (entry.value, entry.revision, len(lost)) == ("2", second, 2)


@isolated
def test_on_one_node(tmp_path: Path) -> None:
    with etcd(tmp_path, 1) as nodes:
        keeps_the_contract(nodes, tmp_path)
        one_leads_and_no_other_writes(nodes)
        who_stops_gives_up_its_lease(nodes)
        a_commit_whose_answer_was_lost_is_done_once(nodes)


def out_of_room_it_says_so_and_goes_on_by_itself(nodes: Nodes) -> None:
    with leading(nodes) as store:
        ledger = Ledger(store, never)

        def fill() -> None:
            for _ in range(100):
                store.commit({"filler": "-" * 100_000}, {})

        with pytest.raises(
            InsufficientStorage, match="database space exceeded; compact and defragment it or"
        ):
            fill()
        term = store.standing.term
        assert term, "the lease lives on: nobody else could do better"
        with pytest.raises(InsufficientStorage):
            ledger.tell(Event("fault", SELF, {}))
        assert "end the alarm with etcdctl alarm disarm" in str(ledger.fault)
        assert store.get("filler") is not None
        nodes.make_room()
        ledger.ready()
        assert ledger.fault is None
        assert store.standing.term == term


def limits_that_are_too_low_are_refused_at_the_start(nodes: Nodes) -> None:
    with pytest.raises(InvalidValue) as refusal:
        EtcdStore(Endpoints.parse(nodes.url), "http://one")
    assert refusal.value.detail == (
        "etcd at 127.0.0.1:12379: etcdserver: too many operations in txn request; start all of its nodes "
        "with --max-txn-ops 4096 --max-request-bytes 8388608"
    )


def requests_that_may_not_be_long_are_refused_at_the_start(nodes: Nodes) -> None:
    with pytest.raises(InvalidValue, match="--max-txn-ops 4096 --max-request-bytes 8388608"):
        EtcdStore(Endpoints.parse(nodes.url), "http://one")


REFUSED = {
    out_of_room_it_says_so_and_goes_on_by_itself: ("--quota-backend-bytes", str(2 << 20)),
    limits_that_are_too_low_are_refused_at_the_start: ("--max-txn-ops", "128"),
    requests_that_may_not_be_long_are_refused_at_the_start: ("--max-request-bytes", "1572864"),
}


@isolated
def test_what_is_refused(tmp_path: Path) -> None:
    for refused, options in REFUSED.items():
        (folder := tmp_path / options[0]).mkdir()
        with etcd(folder, 1, *options) as nodes:
            refused(nodes)


@isolated
def test_a_full_disk_ends_a_node_and_loses_nothing(tmp_path: Path) -> None:
    """etcd ends when it can't write, and its log says why; the management system says which node is gone."""
    disk = mounted(tmp_path / "etcd-0", LAID_OUT_MB + 20)
    told: list[int] = []
    with etcd(tmp_path, 1) as nodes, leading(nodes) as store:
        ledger = Ledger(store, never)

        def tell() -> None:
            for number in range(1000):
                ledger.tell(Event("fault", SELF, {"number": (number, "-" * 100_000)}))
                told.append(number)

        filler = fill(disk)
        with pytest.raises(Unavailable, match=rf"etcd does not answer: {nodes.at(0)}: "):
            tell()
        assert f"etcd does not answer: {nodes.at(0)}: " in str(ledger.fault)
        wait_until(lambda: "no space left on device" in (tmp_path / "etcd-0.log").read_text(), "it has ended")
        nodes.kill(0)
        filler.unlink()
        nodes.start(0)
        wait_until(lambda: store.standing.term, "it leads again")
        ledger.lead(store.standing.term)
        ledger.catch_up()
        ledger.tell(Event("fault", SELF, {"number": (1000, "after")}))
        assert ledger.fault is None
        found = [entry.event.changes["number"][0] for entry in ledger.entries(1, 10_000)]
        refused = len(told)  # it was said that this one may have been written
        assert found in ([*told, 1000], [*told, refused, 1000])


def refusal(nodes: Nodes, access: Access) -> str:
    with pytest.raises((InvalidValue, Unavailable)) as raised:
        EtcdStore(Endpoints.parse(nodes.url), "http://one", access)
    return raised.value.detail


def without_certificates_it_is_refused(nodes: Nodes, access: Access) -> None:
    assert "certificate verify failed" in refusal(nodes, replace(access, ca=None))
    assert "etcd does not answer" in refusal(nodes, replace(access, identity=None))
    with leading(nodes, access=access) as store:
        assert store.commit({"a": "1"}, {})


def without_the_password_it_is_refused(nodes: Nodes, access: Access, folder: Path) -> None:
    assert "give --etcd-user-file" in refusal(nodes, replace(access, user=None))
    write_private(folder / "other", "ms:wrong-password")
    told = refusal(nodes, replace(access, user=folder / "other"))
    assert f"is what {folder / 'other'} says right?" in told
    assert "wrong-password" not in told


def a_token_that_a_node_forgot_is_got_anew(nodes: Nodes, access: Access) -> None:
    with leading(nodes, access=access) as store:
        store.commit({"kept": "1"}, {})
        nodes.kill(0)
        nodes.start(0)
        wait_until(lambda: store.standing.term, "it leads again")
        assert store.commit({"kept": "2"}, {})


def a_backup_is_restored_into_it_and_back(nodes: Nodes, access: Access, folder: Path) -> None:
    author, endpoints = Author("ann@ops", "moved"), Endpoints.parse(nodes.url)
    with closing(SqliteStore(folder / "ms.db")) as file:
        Ledger(file, never).tell(Event("fault", SELF, {"l1": (None, "gone")}))
        file.commit({f"x/{number}": json.dumps("-" * 1000) for number in range(3000)}, {})
        file.copy(folder / "backup")
    with leading(nodes, access=access) as store:
        store.commit({"before": "1"}, {})
        with pytest.raises(Conflict, match="the management system at http://one leads; stop all that share"):
            transfer.restored(folder / "backup", endpoints, access, author)
    done = transfer.restored(folder / "backup", endpoints, access, author)
    assert done.kept == [str(folder / "backup.replaced-1")]
    with leading(nodes, access=access) as store:
        assert store.get("before") is None
        assert len(store.range("x/", "x0")) == 3000
        entries = Ledger(store, never).entries(1, 10)
        assert [entry.event.kind for entry in entries] == ["fault", "restore"]
        assert entries[1].event.author == author
        store.copy(folder / "again")
        store.commit({HALFWAY: "1"}, {})
    back = backups.restored(folder / "again", folder / "ms.db", author)
    assert (back.backup.journal, back.kept) == (2, [str(folder / "ms.db.replaced-1")])
    with pytest.raises(InvalidValue, match="then do it again with catenary restore"):
        EtcdStore(endpoints, "http://one", access)
    assert transfer.restored(folder / "backup", endpoints, access, author).kept == [], "kept before"
    with leading(nodes, access=access):
        pass


@isolated
def test_with_certificates_and_a_user(tmp_path: Path) -> None:
    certs.init(tmp_path / "certs", {Nodes.PART: [], "ms": []}, datetime.now(UTC))
    tls = certs.Folder(tmp_path / "certs")
    for name in ("mutual", "users"):
        (tmp_path / name).mkdir()
    with etcd(tmp_path / "mutual", 1, tls=tls) as nodes:
        without_certificates_it_is_refused(nodes, Access(tls.ca, tls.identity("ms")))
    access = Access(tls.ca, user=tmp_path / "user")
    write_private(tmp_path / "user", "ms:correct-horse\n")
    with etcd(tmp_path / "users", 1, tls=tls, mutual=False) as nodes:
        nodes.protect("ms", "correct-horse", "catenary/")
        without_the_password_it_is_refused(nodes, access, tmp_path)
        a_token_that_a_node_forgot_is_got_anew(nodes, access)
        a_backup_is_restored_into_it_and_back(nodes, access, tmp_path)
