"""The REST service with its engine's thread running, on fakes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from catenary import wire
from catenary.tags import TagPair
from mgmt_system import status
from mgmt_system.rest import create
from tests.serving import calling, knowing
from tests.unit.mgmt_fakes import Site
from topologies.patience import PATIENCE_S

Eventually = Callable[..., None]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with calling(create(site.running(), None)) as client:
        yield client


def post(client: TestClient, *nfs: str, **options: object) -> wire.OperationView:
    answer = client.post("/v1/chains", json={"nfs": nfs, **options})
    assert answer.status_code == 202
    operation = wire.OperationView.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/operations/{operation.id}"
    return operation


def finished(client: TestClient, operation: wire.OperationView) -> Callable[[], bool]:
    return lambda: client.get(f"/v1/operations/{operation.id}").json()["state"] == "succeeded"


def test_add_and_remove_a_chain(client: TestClient, site: Site, eventually: Eventually) -> None:
    for nf in ("n1", "n2"):
        eventually(finished(client, post(client, nf)))
    chain = client.get("/v1/chains/chain-1").json()
    assert (chain["state"], chain["tags"], chain["nfs"]) == ("active", {"forward": 2, "reverse": 3}, ["n1"])
    answer = client.delete("/v1/chains/chain-1")
    assert answer.status_code == 202
    eventually(finished(client, wire.OperationView.model_validate(answer.json())))
    assert [chain["name"] for chain in client.get("/v1/chains").json()] == ["chain-2"]
    assert client.get("/v1/chains/chain-1").json()["state"] == "removed"
    assert [item["kind"] for item in client.get("/v1/operations").json()] == ["add", "add", "remove"]


def test_the_last_chain_goes_only_by_force(client: TestClient, eventually: Eventually) -> None:
    eventually(finished(client, post(client, "n1")))
    assert client.delete("/v1/chains/chain-1").status_code == 409
    answer = client.delete("/v1/chains/chain-1", params={"force": True})
    eventually(finished(client, wire.OperationView.model_validate(answer.json())))


def test_health_tells_of_a_part_that_is_down(client: TestClient, site: Site, eventually: Eventually) -> None:
    health = client.get("/v1/health").json()
    assert health == {"status": "ok", "chains": 0, "reason": None, "leads": True, "leader": None}
    site.controller.down = True
    eventually(lambda: client.get("/v1/health").json()["status"] == "degraded")
    site.controller.down = False
    eventually(lambda: client.get("/v1/health").json()["status"] == "ok")


def test_status_shows_parts_chains_and_their_load(
    client: TestClient, site: Site, eventually: Eventually
) -> None:
    for nf in ("n1", "n2"):
        eventually(finished(client, post(client, nf)))
    site.master.sessions = {TagPair(2, 3): 3, TagPair(4, 5): 1}
    view = wire.StatusView.model_validate(client.get("/v1/status").json())
    assert [(service.name, service.ok) for service in view.services] == [
        ("controller", True),
        ("l1", True),
        ("l2", True),
    ]
    assert [(chain.sessions, chain.share, chain.bytes) for chain in view.chains] == [
        (3, 0.75, 1000),
        (1, 0.25, 1000),
    ]
    assert [(item.name, item.epoch, item.inserted) for item in view.segments] == [("main", 2, True)]
    assert view.counters == {"l1": {"passed": 7}, "l2": {"passed": 7}}


def test_status_does_without_a_part_that_is_down(client: TestClient, site: Site) -> None:
    site.controller.down = site.master.down = True
    view = wire.StatusView.model_validate(client.get("/v1/status").json())
    assert [(service.name, service.ok) for service in view.services] == [
        ("controller", False),
        ("l1", False),
        ("l2", True),
    ]
    assert "can't be reached" in str(view.services[0].reason)
    assert ([item.epoch for item in view.segments], view.counters) == ([None], {"l2": {"passed": 7}})


def test_status_does_not_wait_for_a_part_that_hangs(
    client: TestClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "MASTERS", 0.05)
    monkeypatch.setattr(status, "OTHERS", 0.05)
    alone, release = site.master.stats().model_copy(update={"peer": None}), threading.Event()
    monkeypatch.setattr(site.master, "stats", lambda: alone)
    site.slave.fault = lambda call, after: None if call != "stats" else (release.wait(PATIENCE_S), None)[1]
    began = time.monotonic()
    view = wire.StatusView.model_validate(client.get("/v1/status").json())
    took = time.monotonic() - began
    release.set()
    assert took < PATIENCE_S / 2
    assert (view.services[2].ok, view.services[2].reason) == (False, "no answer within 0.1 s")


def test_a_rebalance_sets_weights(client: TestClient, site: Site, eventually: Eventually) -> None:
    eventually(finished(client, post(client, "n1", weight=10)))
    answer = client.post("/v1/rebalance", json={"weights": [{"forward": 2, "reverse": 3, "weight": 50}]})
    assert wire.Rebalanced.model_validate(answer.json()).pairs[0].weight == 50
    assert client.get("/v1/chains/chain-1").json()["weight"] == 50
    assert client.post("/v1/rebalance", json={}).status_code == 200


def test_a_rebalance_needs_its_master(client: TestClient, site: Site) -> None:
    site.master.down = True
    answer = client.post("/v1/rebalance", json={})
    assert answer.status_code == 503
    assert answer.json()["detail"] == "l1 can't be reached: connection refused"


def test_a_token_is_asked_for(site: Site) -> None:
    with calling(create(site.running(), knowing())) as client:
        assert client.get("/v1/chains").status_code == 401
        assert client.get("/v1/chains", headers={"authorization": "Bearer 0123456789abcdef"}).is_success


def test_an_unexpected_error_ends_the_service(site: Site, eventually: Eventually) -> None:
    running = site.running()
    stopped = threading.Event()
    running.on_failure = stopped.set
    site.controller.fault = lambda call, after: 1 / 0
    with calling(create(running, None)):
        assert stopped.wait(PATIENCE_S)
    assert running.failed
