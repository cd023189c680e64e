"""The journal by REST and by command; pages of lists; changes only of what was read."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from catenary import moments, wire
from catenary.client import ManagementClient
from catenary.errors import InvalidValue, PreconditionFailed, from_problem
from mgmt_system import history_cli, tables
from mgmt_system.rest import create
from tests.serving import calling, pages
from tests.unit.mgmt_fakes import Site, network_text
from tests.unit.test_mgmt_cli import Run, run, site  # noqa: F401

WHO = {"who": "ann@ops", "why": "worn out", "address": "testclient", "request": "req-1"}


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:  # noqa: F811
    """Without the engine: what changes was changed by the request."""
    yield calling(create(site.running(), None))
    site.close()


def add(client: TestClient, number: int = 1, **headers: str) -> httpx.Response:
    answer = client.post("/v1/chains", json={"nfs": ["shared"], "name": f"c{number}"}, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer


def get(client: TestClient, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


CHANGES: dict[str, Callable[[TestClient], httpx.Response]] = {
    "add": lambda client: client.post("/v1/chains", json={"nfs": ["n3"]}),
    "cordon": lambda client: client.post("/v1/chains/c1/cordon"),
    "uncordon": lambda client: client.post("/v1/chains/c1/uncordon"),
    "weight": lambda client: client.post(
        "/v1/rebalance", json={"weights": [{"forward": 2, "reverse": 3, "weight": 7}]}
    ),
    "rebalance": lambda client: client.post("/v1/rebalance", json={}),
    "remove": lambda client: client.delete("/v1/chains/c1"),
    "cancel": lambda client: client.post("/v1/chains/c1/cancel"),
    "session": lambda client: client.post("/v1/sessions/end", json={"key": KEY, "mode": "reset"}),
    "insert": lambda client: client.post("/v1/segments/main/insert"),
    "promote": lambda client: client.post("/v1/chains/c1/promote"),
    "apply": lambda client: client.put(
        "/v1/config?force=true", json=client.get("/v1/config").json() | NO_CHAINS
    ),
}
SILENT = {"/v1/plan": "it changes nothing", "/v1/autoscale/{name}/mode": "it is an apply"}
NO_CHAINS: dict[str, object] = {"chains": {}}
KEY = "tcp 10.0.0.1:4000 10.0.0.2:80"


@pytest.mark.parametrize("kind", CHANGES)
def test_every_changing_call_is_told_with_its_author(
    kind: wire.HistoryKind, eventually: Callable[..., None]
) -> None:
    plain = network_text().replace("timeouts: {", "inserted: false, timeouts: {")
    site = Site(network=plain if kind == "insert" else "")  # noqa: F811
    site.controller.inserted = {"main": None} if kind == "insert" else {}
    running = site.running()
    client = calling(create(running, None))
    add(client, 1)
    if kind != "insert":
        add(client, 2)
    eventually(lambda: not running.engine.settle())
    site.master.keys[KEY] = next(iter(site.master.states), None)
    if kind == "promote":
        both = {"c1": {"nfs": ["shared"], "canary": 5}, "c2": {"nfs": ["shared"]}}
        client.put("/v1/config", json=client.get("/v1/config").json() | {"chains": both})
        eventually(lambda: not running.engine.settle())
    if kind == "cancel":
        client.delete("/v1/chains/c1")
    if kind == "uncordon":
        client.post("/v1/chains/c1/cordon")
    client.headers = {"Catenary-User": "ann@ops", "Catenary-Why": "worn%20out", "X-Request-Id": "req-1"}
    answer = CHANGES[kind](client)
    assert answer.is_success, answer.text
    entries = get(client, f"/v1/history?kind={kind}")
    assert {key: entries[-1][key] for key in WHO} == WHO
    changing = {
        (method, path)
        for path, calls in client.get("/openapi.json").json()["paths"].items()
        for method in calls
        if method != "get" and path not in SILENT
    }
    assert len(changing) == len(CHANGES) - 1, "weights and rebalance are one call; is there a new one?"
    site.close()


def test_an_entry_tells_what_an_apply_changed() -> None:
    changes = {
        "nf n9": (None, {"switch": "s2", "ingress": "i", "egress": "e"}),
        "segment main": ({"policy": "p2c"}, {"policy": "maglev"}),
        "host h1": ({"switch": "s1", "port": "h"}, None),
    }
    entry = wire.HistoryEntry(seq=3, at=0.0, kind="apply", who="ann@ops", changes=changes)
    assert tables.entry(entry) == (
        "1970-01-01T00:00:00Z 3 apply, nf n9 added, segment main policy p2c -> policy maglev, "
        "host h1 taken away, by ann@ops"
    )
    told = entry.model_copy(update={"address": "10.9.8.7", "why": "worn out"})
    assert tables.entry(told).endswith(", by ann@ops from 10.9.8.7: worn out")


def test_who_did_not_say_is_unknown(client: TestClient) -> None:
    answer = add(client, 1)
    entry = get(client, "/v1/history")[0]
    assert (entry["who"], entry["why"], entry["request"]) == ("unknown", None, answer.headers["x-request-id"])


def test_a_reason_may_be_in_any_language(run: Run) -> None:  # noqa: F811
    with ManagementClient(
        os.environ["CATENARY_URL"], who="jürgen@büro", why="für 100% \N{MIDDLE DOT} 縮小"
    ) as client:
        client.add_chain(wire.ChainRequest(nfs=["n1"]))
        first = next(client.history(kind="add"))
    assert (first.who, first.why) == ("jürgen@büro", "für 100% \N{MIDDLE DOT} 縮小")


@pytest.mark.parametrize("text", ["x" * 501, "one%0Atwo", "%1B[31mred"])
def test_a_reason_that_does_not_fit_a_log_is_refused(client: TestClient, text: str) -> None:
    answer = client.post("/v1/chains", json={"nfs": ["n1"]}, headers={"Catenary-Why": text})
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "Catenary-Why can't be kept: use up to 500 printable characters on one line"
    )
    assert get(client, "/v1/chains") == []


def test_history_by_filter_and_in_pages(client: TestClient) -> None:
    for number in range(7):
        add(client, number, **{"Catenary-User": f"user-{number % 2}"})
    everything = get(client, "/v1/history")
    assert [entry["seq"] for entry in everything] == list(range(1, 8))
    assert [len(page) for page in pages(client, "/v1/history?limit=3")] == [3, 3, 1]
    assert [*chain.from_iterable(pages(client, "/v1/history?limit=3"))] == everything
    odd = [*chain.from_iterable(pages(client, "/v1/history?limit=2&who=user-1"))]
    assert [entry["chain"] for entry in odd] == ["c1", "c3", "c5"]
    third = everything[2]["at"]
    assert [entry["seq"] for entry in get(client, f"/v1/history?until={third}")] == [1, 2, 3]
    assert [entry["seq"] for entry in get(client, f"/v1/history?since={third}&limit=2")] == [3, 4]
    assert [entry["chain"] for entry in get(client, "/v1/history?chain=c4&segment=main&kind=add")] == ["c4"]
    assert get(client, "/v1/history?kind=remove") == []


def test_the_last_entries_are_found_from_the_end(client: TestClient) -> None:
    for number in range(1, 4):
        add(client, number)
    everything = get(client, "/v1/history")
    assert [entry["chain"] for entry in everything] == ["c1", "c2", "c3"]
    assert get(client, "/v1/history?last=2") == everything[1:]
    assert get(client, "/v1/history?last=9") == everything
    assert get(client, "/v1/history?last=1&chain=c2") == everything[1:2]
    assert get(client, f"/v1/history?last=1&until={everything[1]['at']}") in ([everything[1]], everything[2:])
    assert get(client, f"/v1/history?last=9&since={everything[2]['at'] + 1}") == []


@pytest.mark.parametrize("path", ["/v1/chains", "/v1/operations"])
def test_lists_come_in_pages(client: TestClient, path: str) -> None:
    for number in range(7):
        add(client, number)
    everything = get(client, path)
    assert [len(page) for page in pages(client, f"{path}?limit=3")] == [3, 3, 1]
    assert [*chain.from_iterable(pages(client, f"{path}?limit=3"))] == everything
    assert [len(page) for page in pages(client, f"{path}?limit=7")] == [7]
    link = client.get(f"{path}?limit=3").links["next"]["url"]
    assert parse_qs(urlsplit(link).query)["limit"] == ["3"]
    refused = client.get(f"{path}?after=c3")
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "after: 'c3' is no place in this list: follow the Link of the page before",
    )


def test_a_list_shows_why_a_chain_waits(site: Site, client: TestClient) -> None:  # noqa: F811
    add(client, 1)
    site.master.down = True
    site.engine.settle()
    assert get(client, "/v1/chains")[0]["reason"] == "l1 can't be reached: connection refused"
    site.engine._reasons.clear()
    assert get(client, "/v1/chains")[0]["reason"] is None, "though its record is the same"


def test_a_change_of_what_is_not_as_it_was_read_is_refused(client: TestClient) -> None:
    add(client, 1)
    add(client, 2)
    read = client.get("/v1/chains/c1").headers["etag"]
    assert client.get("/v1/chains/c1").headers["etag"] == read
    assert f'"{get(client, "/v1/chains/c1")["revision"]}"' == read
    assert f'"{get(client, "/v1/chains")[0]["revision"]}"' == read
    assert client.delete("/v1/chains/c1", headers={"If-Match": '"0", ' + read}).status_code == 202
    changed = client.get("/v1/chains/c1").headers["etag"]
    assert changed != read
    for call in (client.delete, client.post):
        path = "/v1/chains/c1" + ("/cancel" if call == client.post else "")
        answer = call(path, headers={"If-Match": read})
        assert (answer.status_code, answer.json()["title"]) == (412, "Precondition failed")
        assert answer.json()["detail"] == (
            "chain 'c1' has changed since it was read: read it again, and decide afresh"
        )
    assert client.get("/v1/chains/c1").headers["etag"] == changed
    assert client.post("/v1/chains/c1/cancel", headers={"If-Match": "*"}).status_code == 202


def test_a_list_has_an_etag_too(client: TestClient) -> None:
    add(client, 1)
    read = client.get("/v1/chains").headers["etag"]
    add(client, 2)
    body = {"nfs": ["n1"]}
    answer = client.post("/v1/chains", json=body, headers={"If-Match": read})
    assert (answer.status_code, "the list of chains has changed" in answer.text) == (412, True)
    read = client.get("/v1/chains").headers["etag"]
    assert client.post("/v1/chains", json=body, headers={"If-Match": read}).status_code == 202
    operation = get(client, "/v1/operations")[0]["id"]
    assert client.get(f"/v1/operations/{operation}").headers["etag"]
    assert client.get("/v1/operations").headers["etag"]
    refused = client.post("/v1/chains", json=body, headers={"If-Match": "12"})
    assert (refused.status_code, "is no ETag" in refused.text) == (422, True)


def test_a_failed_precondition_is_an_error_of_its_own() -> None:
    assert isinstance(from_problem(412, "x"), PreconditionFailed)


def test_the_chains_of_a_moment(client: TestClient) -> None:
    add(client, 1)
    between = time.time()
    add(client, 2)
    assert [item["name"] for item in get(client, f"/v1/chains?at={between!r}")] == ["c1"]
    present = [item | {"revision": None} for item in get(client, "/v1/chains")]
    assert get(client, f"/v1/chains?at={time.time()!r}") == present
    answer = client.get("/v1/chains?at=1000")
    assert (answer.status_code, "chains of 1970-01-01T00:16:40Z are not known" in answer.text) == (404, True)
    assert client.get(f"/v1/chains?at={time.time() + 60!r}").status_code == 422
    for bad in ("nan", "inf", "-1", "1e30", "yesterday"):
        assert client.get(f"/v1/chains?at={bad}").status_code == 422


def test_moments() -> None:
    assert moments.parse("2026-03-01T14:30:00Z", 0.0) == 1772375400.0
    assert moments.parse("2026-03-01T14:30:00+01:00", 0.0) == 1772371800.0
    assert moments.parse("2026-03-01", 0.0) == time.mktime((2026, 3, 1, 0, 0, 0, 0, 0, -1))
    assert moments.parse("1h30m", 10_000.0) == 4600.0
    assert moments.iso(1772375400.7) == "2026-03-01T14:30:00Z"
    for text in ("", "yesterday", "14:30", "2026-13-01"):
        with pytest.raises(InvalidValue, match="is not a moment: write 2026-03-01T14:30"):
            moments.parse(text, 0.0)


def test_the_command_shows_and_exports_the_journal(run: Run, site: Site) -> None:  # noqa: F811
    assert run("chain add --nf n1 --why trial")[0] == 0
    assert run("chain add --nf n2")[0] == 0
    assert run("chain remove chain-1 --why done")[0] == 0
    lines = run("history --chain chain-1")[1].splitlines()
    assert [line.split()[2] for line in lines] == [
        "add",
        "state",
        "state",
        "remove",
        "state",
        "state",
        "state",
    ]
    assert "add main chain-1, state requested, goal present, nfs n1, tags 2,3, weight 100, by " in lines[0]
    assert lines[0].endswith(": trial")
    assert ", goal present -> absent, by " in lines[3]
    assert lines[3].endswith(": done")
    exported = [json.loads(line) for line in run("history --json")[1].splitlines()]
    assert [entry["seq"] for entry in exported] == list(range(1, len(exported) + 1))
    added = [entry["changes"]["nfs"] for entry in exported if entry["kind"] == "add"]
    assert added == [
        [None, ["n1"]],
        [None, ["n2"]],
    ]
    assert run("history --since 1h --until 30m")[1] == ""
    assert "'soon' is not a moment" in run("history --since soon")[2]
    assert "kind: Input should be 'add'" in run("history --kind nothing")[2]


def test_a_part_that_is_silent_is_named_once() -> None:
    said = "controller at http://127.0.0.1:8081 can't be reached"
    for change, text in (((None, said), said), ((said, None), "controller is well again")):
        entry = wire.HistoryEntry(seq=1, at=0.0, kind="fault", who="ms", changes={"controller": change})
        assert tables.what(entry) == f"fault, {text}, by ms"


def test_what_a_deadline_did_is_told_in_words() -> None:
    for changes, text in (
        ({"reset": (0, 1), "moved": (0, 5)}, "reset 0 -> 1, moved 0 -> 5"),
        ({"deadline": (None, 60.0)}, "deadline 1970-01-01T00:01:00Z"),
        ({"reset": (None, 0), "weight": (None, 100)}, "weight 100"),
    ):
        entry = wire.HistoryEntry(seq=1, at=0.0, kind="state", who="ms", chain="one", changes=changes)
        assert tables.what(entry) == f"state one, {text}, by ms"


def test_the_chains_of_a_moment_by_command(run: Run) -> None:  # noqa: F811
    run("chain add --nf n1")
    between = time.time()
    run("chain add --nf n2")
    moment = moments.datetime.fromtimestamp(between, moments.UTC).isoformat()
    code, out, _ = run(f"chain list --at {moment} --json")
    assert (code, [item["name"] for item in json.loads(out)]) == (0, ["chain-1"])
    code, _, err = run("chain list --at 10m")
    assert (code, "the journal reaches back to" in err) == (2, True)


def test_following_goes_on(run: Run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    run("chain add --nf n1")
    rounds = iter(range(3))

    def sleep(seconds: float) -> None:
        if next(rounds) == 2:
            raise KeyboardInterrupt
        site.manager.cordon("chain-1", force=True)
        site.manager.uncordon("chain-1")

    monkeypatch.setattr(history_cli.time, "sleep", sleep)
    code, out, _ = run("history --follow --json")
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert [kind for kind in kinds if kind not in ("epoch", "state")] == ["add", *2 * ["cordon", "uncordon"]]
    assert code == 130
    assert "use one of them" in run("history --follow --until 1m")[2]
