"""A store that is full, or damaged: said aloud, reads go on, nothing acknowledged is lost.

`tests/netns/test_mgmt_full_disk.py` fills a real disk; `test_mgmt_damaged.py` starts on a damaged file.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from catenary import wire
from catenary.errors import InsufficientStorage
from catenary.tags import TagPair
from mgmt_system.crash import never
from mgmt_system.rest import create
from mgmt_system.store.damaged import opened
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore
from tests.serving import calling
from tests.unit.mgmt_fakes import Site, with_a_chain
from tests.unit.test_mgmt_journal import present, replayed

PAGES_ENOUGH = 1_000_000
KEY = "tcp 10.0.0.1:4000 10.0.0.2:80"


class Disk(SqliteStore):
    """A store on a disk that is full when it is told so: a real one has room for small writes at times."""

    full = False

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> int:
        if self.full:
            raise InsufficientStorage(f"{self.where} can't be written: its disk is full")
        return super().commit(put, expect)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with with_a_chain(tmp_path / "ms.db") as site:
        yield site


@pytest.fixture
def disk(site: Site, tmp_path: Path) -> Disk:
    """Full, under a site with an active chain, one that is requested, and a session."""
    site.store.close()
    site.store = disk = Disk(tmp_path / "ms.db")
    site.restart()
    site.add("n2")
    site.master.keys[KEY] = TagPair(2, 3)
    disk.full = True
    with pytest.raises(InsufficientStorage):
        site.add("n3")
    return disk


def pragma(site: Site, text: str) -> int:
    assert isinstance(site.store, SqliteStore)
    return int(site.store._db.execute(f"PRAGMA {text}").fetchone()[0])


def fill(site: Site) -> list[str]:
    """No more room: chains are added until the last page is full. Those that were accepted."""
    pragma(site, f"max_page_count = {pragma(site, 'page_count')}")
    names = [chain.name for chain in site.manager.chains()]

    def add() -> None:
        for number in range(1000):
            names.append(site.add("shared", name=f"c{number}").chain)

    with pytest.raises(InsufficientStorage, match=r"ms\.db can't be written: its disk is full; make room"):
        add()
    return names


def names(ledger: Ledger) -> list[str]:
    return [record.name for record in ledger.snapshot().chains]


def test_what_was_accepted_before_the_disk_was_full_is_there(site: Site) -> None:
    accepted = fill(site)
    assert names(site.ledger) == accepted == names(Ledger(site.store, never))
    assert [chain.name for chain in site.manager.chains()] == accepted
    assert replayed(site.ledger) == present(site.ledger)
    health = site.manager.health()
    assert (health.status, "its disk is full" in str(health.reason)) == ("degraded", True)


def test_it_goes_on_by_itself_when_there_is_room_again(site: Site) -> None:
    accepted = fill(site)
    for _ in range(3):
        site.step()
    pragma(site, f"max_page_count = {PAGES_ENOUGH}")
    site.settle()
    assert site.states() == dict.fromkeys(accepted, "active")
    assert site.manager.health().status == "ok"
    assert replayed(site.ledger) == present(site.ledger)


def test_a_full_disk_is_said_and_reads_go_on(site: Site, disk: Disk) -> None:
    client = calling(create(site.running(), None))
    answer = client.post("/v1/chains", json={"nfs": ["n3"]})
    assert (answer.status_code, answer.json()["title"]) == (507, "Insufficient storage")
    assert [chain["name"] for chain in client.get("/v1/chains").json()] == ["chain-1", "chain-2"]
    assert [operation["state"] for operation in client.get("/v1/operations").json()] == [
        "succeeded",
        "running",
    ]
    assert client.get("/v1/history").is_success
    assert client.get("/v1/chains?at=1001").json()[0]["name"] == "chain-1"
    assert client.get("/v1/health").json() == {
        "status": "degraded",
        "chains": 2,
        "reason": f"{disk.where} can't be written: its disk is full",
        "leads": True,
        "leader": None,
    }
    store = client.get("/v1/status").json()["services"][0]
    assert (store["name"], store["ok"], store["reason"]) == (
        "store",
        False,
        client.get("/v1/health").json()["reason"],
    )


def test_no_chain_is_moved_while_that_can_not_be_written_down(site: Site, disk: Disk) -> None:
    site.master.calls.clear()
    site.controller.calls.clear()
    for _ in range(5):
        site.step()
    assert site.states() == {"chain-1": "active", "chain-2": "requested"}
    assert not {"steer", "unsteer", "change"} & {*site.controller.calls, *site.master.calls}
    assert "its disk is full" in str(site.manager.chain("chain-2").reason)
    disk.full = False
    site.settle()
    assert site.states() == {"chain-1": "active", "chain-2": "active"}


@pytest.mark.usefixtures("disk")
def test_an_active_chain_is_looked_after_without_a_disk(site: Site) -> None:
    site.controller.restart_empty()
    site.master.restart_empty()
    site.step()
    assert list(site.controller.steered) == ["chain-1"]
    assert list(site.master.states) == [TagPair(2, 3)]


CHANGES: dict[str, Callable[[Site], object]] = {
    "cordon": lambda site: site.manager.cordon("chain-1", force=True),
    "rebalance": lambda site: site.manager.rebalance(wire.Rebalance()),
    "remove": lambda site: site.manager.remove("chain-1", force=True),
    "session": lambda site: site.sessions.end(wire.SessionRequest(key=KEY, mode="reset")),
}


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_can_not_be_told_is_not_made(site: Site, change: str) -> None:
    weights, keys, epoch = dict(site.master.weights), dict(site.master.keys), site.master.epoch
    with pytest.raises(InsufficientStorage):
        CHANGES[change](site)
    assert (site.master.weights, site.master.keys, site.master.epoch) == (weights, keys, epoch)


def test_a_file_that_breaks_under_way_is_said_and_reads_go_on(site: Site, tmp_path: Path) -> None:
    client = calling(create(site.running(), None), raise_server_exceptions=False)
    assert isinstance(site.store, SqliteStore)
    site.store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    site.store._db.execute("PRAGMA cache_size = 0")
    path = tmp_path / "ms.db"
    with path.open("r+b") as file:  # every page but the first
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    site.store._db.execute("PRAGMA shrink_memory")
    site.master.calls.clear()
    site.controller.calls.clear()
    for answer in (
        client.post("/v1/chains", json={"nfs": ["n2"]}),
        client.delete("/v1/chains/chain-1?force=true"),
        client.get("/v1/history"),
        client.get("/v1/chains?at=1001"),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert re.search(
            r"ms\.db can't be (read|written): database disk image is malformed", answer.json()["detail"]
        )
    for _ in range(3):
        site.step()
    assert [(chain["name"], chain["state"]) for chain in client.get("/v1/chains").json()] == [
        ("chain-1", "active")
    ]
    assert client.get("/v1/chains/chain-1").is_success
    assert [*client.get("/v1/config").json()["chains"]] == ["chain-1"]
    assert [chain["name"] for chain in client.get("/v1/status").json()["chains"]] == ["chain-1"]
    assert "malformed" in client.get("/v1/health").json()["reason"]
    assert not {"steer", "unsteer", "change", "rebalance"} & {*site.controller.calls, *site.master.calls}


def test_a_store_that_is_lost_is_made_anew_of_what_the_others_have(site: Site) -> None:
    """The way out that the reference tells: no part is told anything that changes what it does."""
    site.add("n2", name="second", weight=50)
    site.settle()
    weights = dict(site.master.weights)
    steered = site.controller.chains()
    site.store.close()
    site.store = SqliteStore(None)
    site.restart()
    assert site.manager.chains() == []
    for chain in steered:
        weight = weights[chain.tags.pair()]
        site.add(*chain.nfs, name=chain.name, tags=chain.tags, segment=chain.segment, weight=weight)
    site.settle()
    assert site.states() == {"chain-1": "active", "second": "active"}
    assert (site.master.weights, site.controller.chains()) == (weights, steered)
    assert not {"unsteer", "rebalance"} & {*site.controller.calls, *site.master.calls}


@pytest.mark.parametrize("torn", [1, 100, 3000, 4096])
def test_a_write_that_was_torn_is_absent_and_all_before_it_is_there(tmp_path: Path, torn: int) -> None:
    """What a power failure leaves: the log of the last write, cut off anywhere."""
    site = Site(tmp_path / "ms.db")
    for number in range(5):
        site.add("shared", name=f"c{number}")
    before = (tmp_path / "ms.db-wal").stat().st_size
    site.add("shared", name="last")
    assert (tmp_path / "ms.db-wal").stat().st_size - before >= torn
    for name in ("ms.db", "ms.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"after-{name}")
    with (tmp_path / "after-ms.db-wal").open("r+b") as log:
        log.truncate(before + torn)
    site.close()
    ledger = Ledger(opened(tmp_path / "after-ms.db"), never)
    assert not ledger.damaged
    assert names(ledger) == [f"c{number}" for number in range(5)]
    assert replayed(ledger) == present(ledger)
    ledger.close()
