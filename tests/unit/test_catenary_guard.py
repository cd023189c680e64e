"""Who may call: the token comes before all else, and a browser changes nothing for a page of another site."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from catenary.service import create_app
from catenary.wire import Problem
from tests.services import SERVICES

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HERE = "http://127.0.0.1:8080"
OUTSIDE = "https://evil.example"

OURS: list[Mapping[str, str]] = [
    {},  # no browser
    {"Sec-Fetch-Site": "same-origin", "Origin": HERE},
    {"Sec-Fetch-Site": "none"},  # typed into the address bar
    {"Origin": HERE},  # a browser without Fetch Metadata
]
FOREIGN: list[Mapping[str, str]] = [
    {"Sec-Fetch-Site": "cross-site", "Origin": OUTSIDE},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9000"},  # another service of this host
    {"Sec-Fetch-Site": ""},
    {"Origin": OUTSIDE},
    {"Origin": "http://127.0.0.1:9000"},
    {"Origin": "null"},  # a file, or a frame in a sandbox
    {"Origin": "http://[::1"},
]
REBOUND: list[Mapping[str, str]] = [  # a name of theirs that leads to the loopback
    {"Origin": "http://evil.example:8080", "Host": "evil.example:8080"},
    {"Origin": OUTSIDE, "Host": "evil.example", "Sec-Fetch-Site": "same-origin"},
]


def app(token: str | None = None) -> FastAPI:
    made = create_app("test", token)

    @made.get("/v1/thing")
    def read() -> str:
        """Read it."""
        return "read"

    @made.post("/v1/thing")
    def change() -> str:
        """Change it."""
        return "changed"

    @made.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    return made


def client(token: str | None = None) -> TestClient:
    return TestClient(app(token), base_url=HERE)


@pytest.mark.parametrize("headers", OURS)
def test_a_page_of_ours_and_what_is_no_browser_may_change(headers: Mapping[str, str]) -> None:
    assert client().post("/v1/thing", headers=headers).json() == "changed"


@pytest.mark.parametrize("headers", FOREIGN + REBOUND)
def test_a_page_of_another_site_may_not(headers: Mapping[str, str]) -> None:
    answer = client().post("/v1/thing", headers=headers)
    problem = Problem.model_validate_json(answer.content)
    assert (answer.status_code, problem.title) == (403, "Forbidden")
    assert problem.detail == (
        f"a web page of {headers.get('Origin', 'another site')} asks for this: changes are taken from this "
        "service's own pages, and from what is no browser"
    )
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("headers", FOREIGN)
def test_reading_is_left_to_the_browser_which_shows_nothing_of_it(headers: Mapping[str, str]) -> None:
    answer = client().get("/v1/thing", headers=headers)
    assert answer.json() == "read"
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_makes_a_name_ours() -> None:
    headers = {"Origin": "https://ms.example", "Host": "ms.example"}
    assert client(TOKEN).post("/v1/thing", headers={**headers, **BEARER}).is_success
    assert client(TOKEN).post("/v1/thing", headers={**headers, **BEARER, "Host": "x"}).status_code == 403


def test_a_web_socket_is_refused_alike() -> None:
    with client().websocket_connect("ws://127.0.0.1:8080/live", headers={"Origin": HERE}) as socket:
        assert socket.receive_text() == "hello"
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client().websocket_connect("ws://127.0.0.1:8080/live", headers={"Origin": OUTSIDE}),
    ):
        pass
    assert caught.value.code == 1008


CHANGES = {
    "management": "POST /v1/chains/chain-1/cordon",
    "controller": "DELETE /v1/chains/chain-1",
    "master": "POST /v1/rebalance",
    "slave": "POST /v1/sweep",
}


@pytest.mark.parametrize("name", SERVICES)
def test_all_services_refuse_a_foreign_page(name: str) -> None:
    method, path = CHANGES[name].split()
    with SERVICES[name]() as service:
        answer = TestClient(service).request(method, path, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"\xff", b" " * (2 << 20)])
@pytest.mark.parametrize("name", SERVICES)
def test_the_token_comes_before_the_body(name: str, body: bytes) -> None:
    method, path = {**CHANGES, "management": "POST /v1/chains"}[name].split()
    with SERVICES[name](TOKEN) as service:
        headers = {"Content-Type": "application/json"}
        answer = TestClient(service).request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("path", ["/v1/nowhere", "/v1/", "/%761/thing", "/v1/thing/../nowhere"])
def test_without_the_token_no_path_tells_whether_it_is_there(path: str) -> None:
    assert client(TOKEN).get(path).status_code == 401
    assert client(TOKEN).put(path).status_code == 401


@pytest.mark.parametrize("said", ["Basic " + TOKEN, TOKEN, "Bearer", "Bearer " + TOKEN[:-1], "Bearer é"])
def test_what_is_not_the_token(said: str) -> None:
    answer = client(TOKEN).get("/v1/thing", headers={"Authorization": said.encode()})
    assert answer.status_code == 401
    assert client(TOKEN).get("/v1/thing", headers={"Authorization": "bearer " + TOKEN}).is_success


def test_the_page_of_calls_needs_no_token() -> None:
    assert client(TOKEN).get("/openapi.json").is_success
    assert client(TOKEN).get("/docs").is_success
