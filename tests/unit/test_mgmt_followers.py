"""Several management systems on one store: who follows sends changes on, who leads has read all before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from catenary import wire
from catenary.client import ManagementClient
from catenary.config import ServiceConfig
from catenary.errors import Unavailable
from mgmt_system.records import SELF
from mgmt_system.rest import create
from mgmt_system.store import NotLeader, Standing, rows
from mgmt_system.store.sqlite import SqliteStore
from mgmt_system.turns import Turns
from tests.serving import calling, free_port, serving
from tests.unit.mgmt_fakes import Site, network_text, with_a_chain

LEADER = "http://127.0.0.2:8080"
NOBODY = Standing(0, None, "etcd does not answer: a:1: refused")


class Shared(SqliteStore):
    """A file that several open, as etcd lets them; each of them has its standing."""

    def __init__(self, other: SqliteStore, standing: Standing) -> None:
        self._db, self._lock, self.where = other._db, other._lock, "etcd (a:1)"
        self.standing = standing

    def commit(self, put: Mapping[str, str | None], expect: Mapping[str, int]) -> int:
        if not self.standing.term:
            raise NotLeader.told(self.standing, self.where)
        return super().commit(put, expect)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Who leads; with an active chain."""
    with with_a_chain(tmp_path / "ms.db") as site:
        yield site


@pytest.fixture
def follower(site: Site) -> Site:
    """Another one on the same store and parts."""
    assert isinstance(site.store, SqliteStore)
    other = Site()
    other.peers, other.master, other.controller = site.peers, site.master, site.controller
    other.store.close()
    other.store = Shared(site.store, Standing(0, LEADER))
    other.restart()
    return other


def turns(site: Site) -> Turns:
    return Turns(site.ledger, site.network, site.config)


def lead(site: Site, term: int) -> None:
    assert isinstance(site.store, Shared)
    site.store.standing = Standing(term, "here")


def test_a_follower_reads_what_the_leader_writes(site: Site, follower: Site) -> None:
    assert not turns(follower).mine()
    site.add("n2", name="second")
    assert list(follower.states()) == ["chain-1"]
    assert not turns(follower).mine()
    assert follower.states() == site.states()
    before = follower.ledger.snapshot()
    assert not follower.ledger.catch_up()
    assert follower.ledger.snapshot() is before


def test_it_has_the_configuration_that_the_leader_applied(site: Site, follower: Site) -> None:
    other = ServiceConfig.load(network_text().replace("lonely", "another"))
    snapshot = site.ledger.snapshot()
    assert site.ledger.accept(snapshot, [], [], SELF, config=rows.config_value(other))
    turns(follower).mine()
    assert "another" in follower.network.config.nfs


def test_who_comes_to_lead_reads_first_and_goes_on(site: Site, follower: Site) -> None:
    site.add("n2", name="second")
    lead(follower, 7)
    assert not follower.ledger.leads
    with pytest.raises(NotLeader):
        follower.ledger.ready()
    assert turns(follower).mine()
    assert follower.ledger.leads
    follower.settle()
    assert follower.states() == {"chain-1": "active", "second": "active"}


def test_a_leader_that_was_deposed_makes_no_call(site: Site, follower: Site) -> None:
    """It may not know yet what the next one wants of a chain."""
    lead(follower, 7)
    mine = turns(follower)
    assert mine.mine()
    follower.add("n2", name="second")
    site.master.calls.clear()
    site.controller.calls.clear()
    assert isinstance(follower.store, Shared)
    follower.store.standing = Standing(0, LEADER)
    follower.step()
    assert not {"steer", "change"} & {*site.controller.calls, *site.master.calls}
    assert not mine.mine()


def test_two_that_take_both_themselves_for_the_leader_end_alike(site: Site, follower: Site) -> None:
    """Nobody else's clock can be trusted: steps are repeated, and none harms."""
    site.add("n2", name="second")
    lead(follower, 7)
    assert turns(follower).mine()
    for _ in range(10):
        site.step()
        follower.step()
    follower.ledger.catch_up()
    assert site.states() == follower.states() == {"chain-1": "active", "second": "active"}
    assert len(site.master.states) == len(site.controller.steered) == 2
    entries = site.ledger.entries(0, 1000)
    assert len({entry.seq for entry in entries}) == len(entries)
    steps = [(it.event.chain, str(it.event.changes)) for it in entries if it.event.kind == "state"]
    assert len(set(steps)) == len(steps), "a step is told twice"


def test_changes_are_sent_on_and_reads_answered(follower: Site) -> None:
    client = calling(create(follower.running(), None), follow_redirects=False)
    answer = client.post("/v1/chains?x=%20y", json={"nfs": ["n2"]})
    assert (answer.status_code, answer.headers["Location"]) == (307, f"{LEADER}/v1/chains?x=%20y")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == f"this management system follows, and changes nothing: {LEADER} leads"
    for path in ("/v1/plan", "/v1/sessions/end", "/v1/chains/chain-1/cordon"):
        assert client.post(path, json={}).status_code == 307
    assert [chain["name"] for chain in client.get("/v1/chains").json()] == ["chain-1"]
    health = client.get("/v1/health").json()
    assert (health["status"], health["leads"], health["leader"]) == ("ok", False, LEADER)


def test_without_a_leader_they_are_refused_and_it_is_said_why(follower: Site) -> None:
    assert isinstance(follower.store, Shared)
    follower.store.standing = NOBODY
    client = calling(create(follower.running(), None))
    answer = client.delete("/v1/chains/chain-1")
    text = f"no management system leads at present, so nothing is changed: {NOBODY.fault}"
    assert (answer.status_code, answer.json()["detail"]) == (503, text)
    assert client.get("/v1/health").json()["reason"] == text
    store = client.get("/v1/status").json()["services"][0]
    assert (store["name"], store["ok"], store["reason"]) == ("store", False, text)


def test_the_client_goes_where_it_is_sent_and_stays(site: Site, follower: Site) -> None:
    with serving(create(site.running(), None)) as url:
        assert isinstance(follower.store, Shared)
        follower.store.standing = Standing(0, url)
        with (
            serving(create(follower.running(), None), lifespan=False) as other,
            ManagementClient(other) as client,
        ):
            assert client.add_chain(wire.ChainRequest(nfs=["n2"], name="second")).chain == "second"
            assert client.url == url


def test_the_client_asks_the_next_one(site: Site) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with serving(create(site.running(), None)) as url, ManagementClient(f"{dead}, {url}") as client:
        assert client.add_chain(wire.ChainRequest(nfs=["n2"])).state == "running"
    with ManagementClient(f"{dead},{dead}") as client, pytest.raises(Unavailable, match="can't be reached"):
        client.health()


def test_a_change_that_may_have_been_made_is_not_asked_for_again() -> None:
    asked = []

    def cut(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        raise httpx.ReadTimeout("timed out", request=request)

    with ManagementClient("http://127.0.0.1:1,http://127.0.0.2:1") as client:
        client._transport = httpx.MockTransport(cut)
        with pytest.raises(Unavailable):
            client.add_chain(wire.ChainRequest(nfs=["n2"]))
        assert asked == ["127.0.0.1"]
        with pytest.raises(Unavailable):
            client.chains()
        assert asked == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"]


def test_nothing_is_sent_on_in_the_clear() -> None:
    def send_on(request: httpx.Request) -> httpx.Response:
        return httpx.Response(307, headers={"Location": "http://10.0.0.1:8080/v1/chains"})

    with ManagementClient("https://127.0.0.1:1") as client:
        client._transport = httpx.MockTransport(send_on)
        with pytest.raises(Unavailable, match=r"10\.0\.0\.1:8080 leads, and is asked by no plain HTTP"):
            client.add_chain(wire.ChainRequest(nfs=["n2"]))
