"""Each line of management.yaml, by REST and by the command: status, exact text, and nothing changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from catenary.client import ManagementClient
from catenary.tags import TagPair
from mgmt_system.rest import create
from tests.serving import calling, serving
from tests.unit.mgmt_commands import run_command
from tests.unit.mgmt_fakes import Site

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("management.yaml").read_text())
METHODS = ("get", "post", "delete")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    site.add("n1")
    site.add("n2")
    site.add("shared", name="spent", tags={"forward": 20, "reverse": 21})
    site.settle()
    site.master.sessions[TagPair(4, 5)] = 1
    site.manager.remove("chain-2", force=False)
    site.controller.down = True  # so what is drained can't go
    site.manager.remove("spent", force=False)
    for _ in range(3):
        site.step()
    site.controller.down = False
    assert site.states() == {"chain-1": "active", "chain-2": "cooling", "spent": "drained"}
    yield site
    site.close()


@pytest.fixture(scope="module")
def client(site: Site) -> TestClient:
    # Without its lifespan: no engine runs, so that whatever changes was changed by the request.
    return calling(create(site.running(), None), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def url(site: Site) -> Iterator[str]:
    with serving(create(site.running(), None), lifespan=False) as url:
        yield url


@pytest.fixture
def unchanged(site: Site) -> Iterator[None]:
    def everything() -> tuple[object, ...]:
        recorded = site.ledger.chains(), site.ledger.operations()
        return *recorded, dict(site.controller.steered), dict(site.master.states), dict(site.master.weights)

    before = everything()
    yield
    assert everything() == before


def request(case: dict[str, Any]) -> tuple[str, str]:
    return next((method, case[method]) for method in METHODS if method in case)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_rest_answers_with_a_problem(client: TestClient, case: dict[str, Any]) -> None:
    method, path = request(case)
    body = {"json": case["body"]} if "body" in case else {}
    with capture_logs() as events:
        answer = client.request(method, path, **body)
    assert answer.headers["content-type"] == "application/problem+json"
    told = [] if (method, case["status"]) == ("get", 404) else [case["text"]]
    assert [event["reason"] for event in events if event["event"] == "refused"] == told
    assert (answer.json()["detail"], answer.status_code) == (case["text"], case["status"])
    assert answer.json()["status"] == case["status"]
    assert answer.json()["instance"] == path.partition("?")[0]


@pytest.mark.usefixtures("unchanged")
def test_rest_refuses_a_body_that_is_no_json(client: TestClient) -> None:
    answer = client.post("/v1/chains", content=b'{"nfs": [n3', headers={"content-type": "application/json"})
    assert answer.status_code == 422
    told = "the body is no JSON: Expecting value at character 9"
    assert answer.json()["detail"] == told


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("case", [case for case in CASES if "cli" in case], ids=lambda case: case["case"])
def test_the_command_says_the_same_and_exits_with_2(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: dict[str, Any]
) -> None:
    monkeypatch.setenv("CATENARY_URL", url)
    with capture_logs() as events:  # the service runs in this process, too
        code = run_command(monkeypatch, *shlex.split(case["cli"]))
    captured = capsys.readouterr()
    assert (captured.err, captured.out, code) == (f"catenary: {case['text']}\n", "", 2)
    assert [event["reason"] for event in events if event["event"] == "refused"] in ([case["text"]], [])


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "words, text",
    [
        ("chain add --nf n3 --tags two", "'two' is not a tag pair: write FORWARD,REVERSE such as 2,3"),
        ("chain add --nf n3 --tags 2,3,4", "'2,3,4' is not a tag pair: write FORWARD,REVERSE such as 2,3"),
        ("rebalance --weight 2,3", "'2,3' is not a weight: write FORWARD,REVERSE=WEIGHT such as 2,3=50"),
        ("rebalance --weight 2=5", "'2' is not a tag pair: write FORWARD,REVERSE such as 2,3"),
    ],
)
def test_what_only_the_command_can_misread(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, text: str
) -> None:
    monkeypatch.setenv("CATENARY_URL", url)
    assert run_command(monkeypatch, *words.split()) == 2
    assert capsys.readouterr().err == f"catenary: {text}\n"


def test_a_typed_client_gets_the_error_back(url: str) -> None:
    with ManagementClient(url) as client, pytest.raises(Exception, match="unknown chain 'chain-9'") as info:
        client.chain("chain-9")
    assert type(info.value).__name__ == "NotFound"


def test_cases_have_names_of_their_own() -> None:
    names = [case["case"] for case in CASES]
    assert len(set(names)) == len(names)
