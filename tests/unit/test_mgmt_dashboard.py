"""The dashboard's pure parts, and its gate, without a browser."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from catenary.callers import Callers
from catenary.chain import ChainState
from catenary.config import ServiceConfig
from catenary.errors import CatenaryError, Unauthorized, Unavailable
from catenary.listen import Listen
from catenary.roles import Caller, Role
from catenary.traffic import ChainTraffic, SegmentTraffic, TrafficSample
from mgmt_system import dashboard_child
from mgmt_system.dashboard import charts, panels
from mgmt_system.dashboard.gate import COOKIE, Gate, Login
from mgmt_system.watching import Point
from tests.unit.mgmt_fakes import network_text

TOKEN = "0123456789abcdef"
HOME = "http://127.0.0.1:8090"
Eventually = Callable[..., None]
LIVE = "ws://127.0.0.1:8090/live"


def sample(at: float, *sessions: int, segment: str = "main") -> TrafficSample:
    rows = [
        ChainTraffic(
            name=f"chain-{number}",
            segment=segment,
            state=ChainState.ACTIVE,
            sessions=live,
            share=0.1,
            new=1.0,
            forward=1e6 * live,
            reverse=0.0,
        )
        for number, live in enumerate(sessions, 1)
    ]
    return TrafficSample(at=at, segments=[SegmentTraffic(name=segment)], chains=rows, cooling=[])


def test_the_busiest_chains_have_lines_and_the_others_are_one() -> None:
    samples = [Point.of(sample(at, *range(1, 21))) for at in (100.0, 101.0)]
    names = charts.shown(samples, None)
    assert names == [f"chain-{number}" for number in range(13, 21)]
    drawn = charts.options(samples, "throughput", names, None)["series"]
    assert [line["name"] for line in drawn] == [*names, "others"]
    assert drawn[0]["data"] == [(100000, 104.0), (101000, 104.0)]
    assert drawn[-1]["data"][-1] == (101000, pytest.approx(8 * sum(range(1, 13))))
    shares = charts.options(samples, "share", names, None)["series"]
    assert sum(line["data"][-1][1] for line in shares) == pytest.approx(100.0, abs=0.1)


def test_a_chart_shows_the_last_minutes_of_one_segment() -> None:
    told = (sample(0.0, 1), sample(500.0, 1), sample(501.0, 1, 9, segment="other"))
    samples = [Point.of(one) for one in told]
    assert charts.shown(samples, "main") == ["chain-1"]
    [line] = charts.options(samples[:2], "throughput", ["chain-1"], "main")["series"]
    assert line["data"] == [(500000, 8.0)]


def test_many_chains_make_a_small_page() -> None:
    config = ServiceConfig.load(network_text())
    many = sample(100.0, *range(1000))
    html = panels.topology(config, "main", many, {}, {})
    assert html.count('class="lane"') == panels.LANES + 1
    assert "988 more chains" in html
    bundled = panels.topology(config, None, many, {}, {})
    assert bundled.count('class="lane"') == panels.LANES + 1


def test_what_others_wrote_is_text_and_not_markup() -> None:
    config = ServiceConfig.load(network_text())
    one = sample(100.0, 1)
    row = one.chains[0].model_copy(update={"name": "<script>"})
    html = panels.topology(config, "main", one.model_copy(update={"chains": [row]}), {}, {})
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def app(token: str | None) -> TestClient:
    def sign_in(said: str) -> Caller:
        if said != token:
            raise Unauthorized("not ours")
        return Caller("alice", Role.VIEWER)

    async def home(request: Request) -> PlainTextResponse:
        login: Login = request.state.login
        assert (login.token, login.caller.name) == (token, "alice" if token else "anyone")
        return PlainTextResponse("home")

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("live")
        await socket.close()

    routes = [Route("/", home, methods=["GET", "POST"]), WebSocketRoute("/live", live)]
    return TestClient(
        Gate(Starlette(routes=routes), sign_in if token else None, secure=False),
        base_url=HOME,
        follow_redirects=False,
    )


REFUSED = [
    {"host": "evil.example:8090"},
    {"host": ""},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", REFUSED)
def test_other_sites_are_refused(headers: dict[str, str]) -> None:
    client = app(None)
    assert client.post("/", headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LIVE, headers=headers) as socket:
        socket.receive_text()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": HOME, "sec-fetch-site": "same-origin"},
        {"host": "localhost:8090"},
        {"host": "[::1]:8090"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # somebody followed a link
    ],
)
def test_its_own_page_is_served(headers: dict[str, str]) -> None:
    answer = app(None).get("/", headers=headers)
    assert answer.text == "home"
    if "sec-fetch-mode" not in headers:
        with app(None).websocket_connect(LIVE, headers=headers) as socket:
            assert socket.receive_text() == "live"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def sign_in(client: TestClient, token: str) -> httpx.Response:
    return client.post("/login", data={"token": token}, headers={"origin": HOME})


def test_a_token_is_asked_for_once() -> None:
    client = app(TOKEN)
    assert client.get("/").headers["location"] == "/login"
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(LIVE) as socket:
        socket.receive_text()
    assert re.search(r'type="password"', client.get("/login").text)
    for said in ("fedcba9876543210", "", "\r\nX-Other: 1", "t\u00f6ken"):
        wrong = sign_in(client, said)
        assert (wrong.status_code, COOKIE in wrong.cookies) == (401, False)
    right = sign_in(client, TOKEN)
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert TOKEN not in str(right.headers)
    assert client.get("/").text == "home"
    with client.websocket_connect(LIVE) as socket:
        assert socket.receive_text() == "live"
    client.get("/logout")  # a link that somebody planted signs nobody out
    client.cookies.set(COOKIE, right.cookies[COOKIE])
    assert client.get("/").text == "home"
    client.post("/logout")
    client.cookies.set(COOKIE, right.cookies[COOKIE])
    assert client.get("/").status_code == 303


def test_a_token_that_is_revoked_opens_the_page_no_more() -> None:
    known = {TOKEN: Caller("alice", Role.ADMIN)}
    fault: list[CatenaryError] = []

    def ask(token: str) -> Caller:
        if fault:
            raise fault[0]
        if token not in known:
            raise Unauthorized("not ours")
        return known[token]

    async def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.login.caller.role)

    gate = Gate(Starlette(routes=[Route("/", home)]), ask, secure=False)
    client = TestClient(gate, base_url=HOME, follow_redirects=False)
    sign_in(client, TOKEN)
    assert client.get("/").text == "admin"
    known[TOKEN] = Caller("alice", Role.VIEWER)
    assert client.get("/").text == "viewer"
    fault.append(Unavailable("away"))
    assert client.get("/").text == "viewer"
    fault.clear()
    known.clear()
    assert client.get("/").headers["location"] == "/login"
    known[TOKEN] = Caller("alice", Role.VIEWER)
    assert client.get("/").headers["location"] == "/login"


def test_a_sign_in_by_another_site_is_refused() -> None:
    answer = app(TOKEN).post("/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403


def test_one_beside_a_management_system_is_there_while_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(["sleep", "600"]))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(dashboard_child.subprocess, "Popen", start)
    with dashboard_child.beside(Listen(), None, None):
        assert not started
    with dashboard_child.beside(Listen(), 8090, None):
        [process] = started
        assert process.poll() is None
    assert process.poll() == -signal.SIGTERM


def test_one_beside_a_management_system_looks_with_a_token_that_is_on_no_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, eventually: Eventually
) -> None:
    seen = tmp_path / "seen"
    code = "import os, pathlib, sys; from catenary.token import read_token, write_private;"
    code += "token = read_token(pathlib.Path(os.environ['CATENARY_TOKEN_FILE']));"
    code += "write_private(pathlib.Path(sys.argv[1]), token)"
    monkeypatch.setattr(dashboard_child, "command", lambda _: [sys.executable, "-c", code, str(seen)])
    callers = Callers()
    with dashboard_child.beside(Listen(), 8090, callers):
        eventually(seen.exists, what="the token")
    assert callers.find(seen.read_text()) == Caller("dashboard", Role.VIEWER)


def test_one_beside_a_management_system_has_its_protection() -> None:
    cert, key, tokens = Path("cert.pem"), Path("key.pem"), Path("tokens")
    management = Listen("192.0.2.1", 8080, cert, key, tokens=tokens)
    ours = {"HOME": "/root", "CATENARY_URL": "http://elsewhere", "CATENARY_TOKEN_FILE": "another"}
    assert dashboard_child.environment(management, ours, "token") == {
        "HOME": "/root",
        "CATENARY_URL": "https://192.0.2.1:8080",
        "CATENARY_CA": "cert.pem",
        "CATENARY_TOKEN_FILE": "token",
    }
    bare = dashboard_child.environment(Listen(), ours, None)
    assert bare == {"HOME": "/root", "CATENARY_URL": "http://127.0.0.1:8080"}
    words = dashboard_child.command(replace(management, port=8090))
    own = ["dashboard", "--host", "192.0.2.1", "--port", "8090"]
    assert words[3:] == [*own, "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
