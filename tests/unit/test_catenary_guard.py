"""Who may call: the token comes before all else, and a page of another site gets nothing out of a browser."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from catenary.callers import Callers
from catenary.service import create_app
from catenary.wire import Problem
from tests.services import SERVICES
from tests.serving import TOKEN, calling, knowing

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
    {"Host": "evil.example:8080", "Sec-Fetch-Site": "same-origin"},  # as a page reads
    {"Host": "localhost.evil.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "127.0.0.1@evil.example"},
    {"Host": "[::1"},
    {"Host": ""},
]


def app(callers: Callers | None = None) -> FastAPI:
    made = create_app("test", callers, {})

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


def client(callers: Callers | None = None) -> TestClient:
    return TestClient(app(callers), base_url=HERE)


@pytest.mark.parametrize("headers", OURS)
def test_a_page_of_ours_and_what_is_no_browser_is_answered(headers: Mapping[str, str]) -> None:
    assert client().get("/v1/thing", headers=headers).json() == "read"
    assert client().post("/v1/thing", headers=headers).json() == "changed"


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_a_page_of_another_site_is_not(headers: Mapping[str, str], method: str) -> None:
    answer = client().request(method, "/v1/thing", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-request-id"]
    if method != "HEAD":
        problem = Problem.model_validate_json(answer.content)
        assert problem.title == "Forbidden"
        assert problem.detail == (
            f"a web page of {headers.get('Origin', 'another site')} asks for this: only this service's own "
            "pages are answered, and what is no browser"
        )


@pytest.mark.parametrize("headers", REBOUND)
def test_nothing_is_read_by_a_name_that_may_be_anybodys(headers: Mapping[str, str]) -> None:
    answer = client().get("/v1/thing", headers=headers)
    assert answer.status_code == 403
    assert Problem.model_validate_json(answer.content).detail == (
        f"unknown host {headers['Host']!r}, a name that any web page may let lead here: call this service by "
        "its IP address or as localhost, or give it a token (--tokens)"
    )
    assert client(knowing()).get("/v1/thing", headers={**BEARER, "Host": headers["Host"]}).is_success


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.9:80", "[::1]:8080", "localhost", "LOCALHOST:1"])
def test_an_address_and_localhost_are_ours(host: str) -> None:
    assert client().get("/v1/thing", headers={"Host": host}).json() == "read"


def test_a_token_makes_a_name_ours() -> None:
    headers = {"Origin": "https://ms.example", "Host": "ms.example"}
    assert client(knowing()).post("/v1/thing", headers={**headers, **BEARER}).is_success
    assert client(knowing()).post("/v1/thing", headers={**headers, **BEARER, "Host": "x"}).status_code == 403


def test_a_web_socket_is_refused_alike() -> None:
    with client().websocket_connect("ws://127.0.0.1:8080/live", headers={"Origin": HERE}) as socket:
        assert socket.receive_text() == "hello"
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client().websocket_connect("ws://127.0.0.1:8080/live", headers={"Origin": OUTSIDE}),
    ):
        pass
    assert caught.value.code == 1008


def test_the_live_traffic_of_chains_is_no_image_of_another_site() -> None:
    with SERVICES["management"]() as service:
        answer = calling(service).get(
            "/v1/capture?chain=chain-1", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        )
    assert answer.status_code == 403


CHANGES = {
    "management": "POST /v1/chains/chain-1/cordon",
    "controller": "DELETE /v1/chains/chain-1",
    "master": "POST /v1/rebalance",
    "slave": "POST /v1/sweep",
    "standby": "POST /v1/take-over",
}


@pytest.mark.parametrize("name", SERVICES)
def test_all_services_refuse_a_foreign_page(name: str) -> None:
    method, path = CHANGES[name].split()
    with SERVICES[name]() as service:
        answer = calling(service).request(method, path, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"\xff", b" " * (2 << 20)])
@pytest.mark.parametrize("name", SERVICES)
def test_the_token_comes_before_the_body(name: str, body: bytes) -> None:
    method, path = {**CHANGES, "management": "POST /v1/chains"}[name].split()
    with SERVICES[name](knowing()) as service:
        headers = {"Content-Type": "application/json"}
        answer = calling(service).request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("path", ["/v1/nowhere", "/v1/", "/%761/thing", "/v1/thing/../nowhere"])
def test_without_the_token_no_path_tells_whether_it_is_there(path: str) -> None:
    assert client(knowing()).get(path).status_code == 401
    assert client(knowing()).put(path).status_code == 401


@pytest.mark.parametrize("said", ["Basic " + TOKEN, TOKEN, "Bearer", "Bearer " + TOKEN[:-1], "Bearer é"])
def test_what_is_not_the_token(said: str) -> None:
    answer = client(knowing()).get("/v1/thing", headers={"Authorization": said.encode()})
    assert answer.status_code == 401
    assert client(knowing()).get("/v1/thing", headers={"Authorization": "bearer " + TOKEN}).is_success


def test_the_page_of_calls_needs_no_token() -> None:
    assert client(knowing()).get("/openapi.json").is_success
    assert client(knowing()).get("/docs").is_success
