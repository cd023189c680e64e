"""A management system started on a damaged database: it says so, shows what there is, and changes nothing.

`tests/errors/test_bad_store.py` does it with the command.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from structlog.testing import capture_logs

from catenary.chain import PairState
from catenary.config import ServiceConfig
from catenary.errors import Conflict, InvalidValue
from mgmt_system.applying import Condition, Options
from mgmt_system.journal import Retention
from mgmt_system.peers import Secrets
from mgmt_system.records import SELF
from mgmt_system.rest import create
from mgmt_system.service import Running
from mgmt_system.store import backups, under
from mgmt_system.store.damaged import DamagedStore, opened
from tests.serving import calling
from tests.unit.mgmt_fakes import Site, network_text

CHAINS = [f"c{number}" for number in range(40)]
KEY = "tcp 10.0.0.1:4000 10.0.0.2:80"
PAGE = 4096
HEADER = b"\xa5" * 100
READS = {"balancers", "health", "stats", "lives", "chains", "pairs", "session"}
"""Calls to other parts that change nothing."""


def damage(whole: bytes, part: str) -> bytes:
    third = len(whole) // 3
    return {
        "half": whole[: len(whole) // 2],
        "a quarter less": whole[: len(whole) * 3 // 4],
        "half a page less": whole[: -PAGE // 2],
        "header only": whole[:100],
        "nothing": b"",
        "garbage in the header": HEADER + whole[100:],
        "zeros inside": whole[:third] + bytes(2 * PAGE) + whole[third + 2 * PAGE :],
        "noise inside": whole[:third] + b"\xa5" * 2 * PAGE + whole[third + 2 * PAGE :],
        "wrong count": whole[:36] + b"\0\0\0\x05" + whole[40:],  # of free pages
        "another file": network_text().encode(),
    }[part]


PARTS = [
    "half",
    "a quarter less",
    "half a page less",
    "header only",
    "nothing",
    "garbage in the header",
    "zeros inside",
    "noise inside",
    "wrong count",
    "another file",
]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def begun(path: Path) -> Site:
    """With active chains, one that cools down, and one that waits."""
    site = Site(path)
    for name in CHAINS:
        site.add("shared", name=name)
    site.settle()
    site.master.sessions[site.master_pair("c1")] = 1
    site.manager.remove("c1", force=False)
    site.step()
    site.controller.down = True
    site.add("shared", name="waiting")
    site.controller.down = False
    return site


def again(site: Site) -> Site:
    """A new management system on the same path."""
    site.store = opened(site.path)
    site.restart()
    for part in (site.controller, site.master, site.slave):
        part.calls.clear()
    return site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Stopped in good order: all of its store is in the one file."""
    site = begun(tmp_path / "ms.db")
    site.close()
    yield site
    site.close()


def listed(client: TestClient) -> dict[str, str]:
    return {chain["name"]: chain["state"] for chain in client.get("/v1/chains").json()}


CHANGES: dict[str, Callable[[TestClient], Response]] = {
    "add": lambda client: client.post("/v1/chains", json={"nfs": ["n1"]}),
    "add what can't be": lambda client: client.post("/v1/chains", json={"nfs": ["lonely"]}),
    "remove": lambda client: client.delete("/v1/chains/c2?force=true"),
    "remove what is not known": lambda client: client.delete("/v1/chains/lost"),
    "cancel": lambda client: client.post("/v1/chains/c1/cancel"),
    "cordon": lambda client: client.post("/v1/chains/c2/cordon"),
    "uncordon": lambda client: client.post("/v1/chains/c2/uncordon"),
    "rebalance": lambda client: client.post("/v1/rebalance", json={}),
    "session": lambda client: client.post("/v1/sessions/end", json={"key": KEY, "mode": "reset"}),
    "apply": lambda client: client.put("/v1/config", json=client.get("/v1/config").json()),
}


@pytest.mark.parametrize("part", PARTS)
def test_it_starts_says_so_and_changes_nothing(site: Site, tmp_path: Path, part: str) -> None:
    broken = damage(site.path.read_bytes(), part)
    site.path.write_bytes(broken)
    with capture_logs() as logs:
        again(site)
    fault = str(site.store.damage)
    assert [(line["log_level"], line["fault"]) for line in logs if "database" in line] == [("error", fault)]
    assert f"{site.path} is damaged or no database (" in fault
    assert f"put a backup in its place with catenary restore BACKUP --db {site.path}, and start it" in fault
    site.master.keys[KEY] = site.master_pair("c2")
    with calling(create(site.running(), None)) as client:  # with its threads
        for answer in (change(client) for change in CHANGES.values()):
            assert (answer.status_code, answer.json()["detail"]) == (503, fault)
        health = client.get("/v1/health").json()
        assert (health["status"], health["reason"]) == ("degraded", fault)
        store = client.get("/v1/status").json()["services"][0]
        assert (store["name"], store["ok"], store["reason"]) == ("store", False, fault)
        recollection = site.running().recollection
        assert recollection is not None
        recollection.look()
        assert listed(client).keys() >= {*CHAINS}  # by the store, or by the others
        assert listed(client)["c1"] == "cooling"
        for path in ("operations", "history", "config", "traffic", "services", f"session?key={KEY}"):
            assert client.get(f"/v1/{path}").is_success, path
        assert client.get("/v1/chains?at=1001").json()["detail"].endswith(fault)
    assert {*site.controller.calls, *site.master.calls, *site.slave.calls} <= READS
    assert site.path.read_bytes() == broken
    assert [path.name for path in tmp_path.iterdir()] == ["ms.db"]


def test_where_no_record_is_broken_all_are_shown(site: Site) -> None:
    operations, chains = {item.id: item.state for item in site.ledger.operations()}, site.states()
    site.path.write_bytes(damage(site.path.read_bytes(), "wrong count"))
    again(site)
    assert {item.id: item.state for item in site.ledger.operations()} == operations
    assert site.states() == chains
    client = calling(create(site.running(), None))
    told = [entry["chain"] for entry in client.get("/v1/history?kind=add").json()]
    assert told == [*CHAINS, "waiting"]
    assert [entry["chain"] for entry in client.get("/v1/history?kind=add&last=1").json()] == ["waiting"]


@pytest.mark.parametrize("part", ["a quarter less", "half a page less", "zeros inside", "noise inside"])
def test_records_that_sqlite_still_reads_are_shown(site: Site, part: str) -> None:
    before = {stored.record.id: stored.record for stored in site.ledger.chains()}
    site.path.write_bytes(damage(site.path.read_bytes(), part))
    again(site)
    left = {stored.record.id: stored.record for stored in site.ledger.chains()}
    assert left
    assert left.items() <= before.items()
    client = calling(create(site.running(), None))
    entries = client.get("/v1/history?limit=10000").json()
    assert entries
    assert [entry["seq"] for entry in entries] == sorted(entry["seq"] for entry in entries)


@pytest.mark.parametrize("part", ["a quarter less", "zeros inside"])
def test_a_log_beside_a_damaged_file_is_read_and_not_taken_in(site: Site, tmp_path: Path, part: str) -> None:
    """What SIGKILL leaves: the last writes are in the log only."""
    again(site)
    site.add("shared", name="another")  # the first of all chains by name
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("ms.db", "ms.db-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    path = crashed / "ms.db"
    path.write_bytes(damage(path.read_bytes(), part))
    before = files(crashed)
    store = opened(path)
    assert store.damage is not None
    assert store.range(*under("chain/another/"))
    store.close()
    assert files(crashed) == before


def test_a_log_without_its_file_is_kept(tmp_path: Path) -> None:
    """SQLite would make a new file, and throw the log away."""
    site = begun(tmp_path / "ms.db")
    (tmp_path / "ms.db").rename(tmp_path / "away")
    before = files(tmp_path)
    site.close()
    (tmp_path / "ms.db-wal").write_bytes(before["ms.db-wal"])
    again(site)
    assert "(it is missing, and its log is not)" in str(site.store.damage)
    assert files(tmp_path) == before
    site.close()


def test_chains_that_the_store_lost_are_shown_as_the_others_have_them(site: Site) -> None:
    site.path.write_bytes(b"lost")
    again(site)
    client = calling(create(site.running(), None))
    recollection = site.running().recollection
    assert recollection is not None
    assert listed(client) == {}
    recollection.look()
    active = dict.fromkeys(CHAINS, "active")
    assert listed(client) == active | {"c1": "cooling"}
    chain = client.get("/v1/chains/c2").json()
    assert (chain["nfs"], chain["weight"], chain["revision"]) == (["shared"], 100, None)
    site.master.states[site.master_pair("c1")] = PairState.DRAINED
    site.controller.down = True
    recollection.look()
    assert listed(client) == active | {"c1": "drained"}
    site.controller.down = False
    del site.controller.steered["c1"]
    recollection.look()
    del active["c1"]
    assert listed(client) == active


def test_without_a_backup_what_is_exported_makes_a_new_store(site: Site, tmp_path: Path) -> None:
    """No part is told anything that changes what it does."""
    site.master.weights[site.master_pair("c2")] = 50
    steered, weights = site.controller.chains(), dict(site.master.weights)
    site.path.write_bytes(b"lost")
    again(site)
    recollection = site.running().recollection
    assert recollection is not None
    recollection.look()
    exported = calling(create(site.running(), None)).get("/v1/config").json()
    assert exported["chains"].keys() == {*CHAINS} - {"c1"}  # it goes
    site.path.rename(tmp_path / "away")
    again(site)
    site.applying.apply(ServiceConfig.model_validate(exported), Options(), Condition())
    site.settle()
    assert site.states() == dict.fromkeys([name for name in CHAINS if name != "c1"], "active")
    assert (site.controller.chains(), site.master.weights) == (steered, weights)
    assert site.master.states[site.master_pair("c1")] is PairState.COOLING
    assert not {"unsteer", "rebalance"} & {*site.controller.calls, *site.master.calls}


def test_a_chain_of_a_segment_that_is_not_known_any_more_is_left_out(site: Site) -> None:
    """The configuration is lost, and the network file has other segments."""
    database = sqlite3.connect(site.path)
    database.execute("UPDATE entries SET value = '{' WHERE key = 'config'")
    database.commit()
    database.close()
    site.config = site.config.load(network_text().replace("main:", "other:"))
    site.store = opened(site.path)
    client = calling(create(site.running(), None))
    assert "config can't be read" in client.get("/v1/health").json()["reason"]
    assert listed(client) == {}
    assert client.get("/v1/status").is_success


def test_chains_that_the_network_file_has_no_place_for_are_shown(site: Site) -> None:
    """The configuration is lost, and the file is older: there is no document that could be applied."""
    site.path.write_bytes(damage(site.path.read_bytes(), "garbage in the header"))
    site.config = site.config.load(network_text().replace("shared", "another"))
    site.store = opened(site.path)
    client = calling(create(site.running(), None))
    recollection = site.running().recollection
    assert recollection is not None
    recollection.look()
    assert listed(client).keys() == {*CHAINS}
    answer = client.get("/v1/config")
    assert answer.status_code == 503
    text = answer.json()["detail"]
    assert text.startswith(
        "the chains do not fit the configuration in force (config.chains.c0.nfs.0: unknown NF"
    )
    assert text.endswith("start the management system with the network file that was applied last")


def test_it_starts_with_chains_that_the_network_file_has_no_place_for(site: Site, tmp_path: Path) -> None:
    database = sqlite3.connect(site.path)
    database.execute("DELETE FROM entries WHERE key = 'config'")
    database.execute("UPDATE entries SET value = '{' WHERE key LIKE 'chain/c1/%'")
    database.commit()
    database.close()
    older = tmp_path / "network.yaml"
    older.write_text(network_text().replace("shared", "another"))
    running = Running.from_files(older, str(site.path), "", Secrets(), Retention())
    assert running.ledger.damaged
    assert len(running.manager.chains()) == len(CHAINS)
    running.ledger.close()


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("chain/c1/%", """'{"name": "c1"}'""", "can't be read (KeyError: 'nfs')"),
        ("chain/c1/%", """replace(value, '"then": null', '"then": "so"')""", "(ValidationError: then: "),
        ("chain/c1/%", """replace(value, '"c1"', '"c2"')""", "holds another record"),
        ("operation/%", """replace(value, '"add"', '"odd"')""", "can't be read (ValidationError: kind: "),
    ],
)
def test_a_record_that_can_not_be_shown_is_damage_and_all_others_are_shown(
    site: Site, key: str, value: str, fault: str
) -> None:
    database = sqlite3.connect(site.path)
    database.execute(f"UPDATE entries SET value = {value} WHERE key LIKE '{key}'")
    database.commit()
    database.close()
    again(site)
    assert f"ms.db is damaged or no database ({key[:-1]}" in str(site.store.damage)
    assert fault in str(site.store.damage)
    left = {*CHAINS, "waiting"} - {name for name in CHAINS if f"/{name}/" in key}
    assert site.states().keys() == left
    assert calling(create(site.running(), None)).get("/v1/operations").is_success


def test_with_a_backup_in_its_place_all_is_well(site: Site, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    site.path.rename(backup)
    site.path.write_bytes(damage(backup.read_bytes(), "half"))
    again(site)
    backups.restored(backup, site.path, SELF)  # the damaged file is open to nobody
    site.close()
    again(site)
    assert site.store.damage is None
    site.master.sessions.clear()
    site.settle()
    assert site.states() == dict.fromkeys([*CHAINS, "waiting"], "active") | {"c1": "removed"}
    assert site.manager.health().status == "ok"


def test_a_file_of_somebody_else_or_of_another_layout_is_refused(site: Site) -> None:
    database = sqlite3.connect(site.path)
    database.execute("PRAGMA user_version = 1")
    database.execute("UPDATE entries SET value = '{'")
    database.commit()
    database.close()
    with pytest.raises(
        InvalidValue, match="has version 1 of the store, and this Catenary knows versions 2 to 3"
    ):
        opened(site.path)


OWNER = """
import sys, pathlib
from mgmt_system.store.sqlite import SqliteStore
store = SqliteStore(pathlib.Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_is_in_use_is_not_called_damaged(site: Site) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(site.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        for content in (site.path.read_bytes(), damage(site.path.read_bytes(), "zeros inside")):
            site.path.write_bytes(content)
            with pytest.raises(Conflict, match=r"ms\.db is in use by another management system"):
                opened(site.path)


@pytest.mark.parametrize("hits", [500, 5000])
@pytest.mark.parametrize("seed", range(5))
def test_it_starts_on_noise(site: Site, seed: int, hits: int) -> None:
    chance, noisy = random.Random(seed), bytearray(site.path.read_bytes())
    for _ in range(hits):
        noisy[chance.randrange(100, len(noisy))] = chance.randrange(256)
    site.path.write_bytes(noisy)
    site.store = opened(site.path)
    assert isinstance(site.store, DamagedStore)
    client = calling(create(site.running(), None))
    for path in ("chains", "operations", "history", "config", "status", "health"):
        assert client.get(f"/v1/{path}").is_success, path
    assert site.path.read_bytes() == noisy
