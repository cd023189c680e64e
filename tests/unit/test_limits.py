"""Attacks by quantity and slowness, on a real server: others are served meanwhile, and nothing is kept."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from catenary import access, service
from catenary.access import Access
from catenary.client import ManagementClient
from catenary.errors import TooManyRequests, Unavailable
from catenary.heads import Impatient
from catenary.rates import Rates
from catenary.roles import Role
from catenary.service import create_app
from tests.serving import TOKEN, calling, knowing, serving
from topologies.patience import PATIENCE_S

HEAD = b"POST /v1/thing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
BEARER = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
Eventually = Callable[..., None]


def app(role: Role = Role.ADMIN) -> FastAPI:
    made = create_app("test", knowing(TOKEN, role), {"read": Role.VIEWER, "change": Role.VIEWER})

    @made.get("/v1/thing")
    def read() -> str:
        """Read it."""
        return "read"

    @made.post("/v1/thing")
    async def change(request: Request) -> int:
        """Change it."""
        return len(await request.body())

    return made


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service that is as impatient as a test."""
    monkeypatch.setattr(access, "BODY_S", 0.2)
    monkeypatch.setattr(access, "BODY_RATE", 1e9)
    monkeypatch.setattr(Impatient, "head_s", 0.2)
    with serving(app()) as url:
        yield url


def connected(url: str, sent: bytes = b"") -> socket.socket:
    where = urlsplit(url)
    made = socket.create_connection((where.hostname, where.port), PATIENCE_S)
    made.sendall(sent)
    return made


def answered(connection: socket.socket) -> bytes:
    """All that comes until the service closes."""
    told = b""
    try:
        while piece := connection.recv(65536):
            told += piece
    except ConnectionResetError:
        pass
    return told


def is_served(url: str) -> bool:
    with ManagementClient(url, token=TOKEN, timeout=PATIENCE_S) as client:
        return client.call("GET", "/v1/thing", str) == "read"


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /v1/thing HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "])
def test_who_never_ends_a_head_is_cut_off(url: str, sent: bytes) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connected(url, sent)) for _ in range(50)]
        assert is_served(url)
        assert {answered(connection) for connection in held} == {b""}


def test_a_second_request_that_drips_is_cut_off_too(url: str) -> None:
    first = b"GET /v1/thing HTTP/1.1\r\nHost: 127.0.0.1\r\n" + BEARER + b"\r\n"
    with connected(url, first) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /v1")
        answered(connection)


def test_a_body_that_drips_is_answered_408_and_cut_off(url: str) -> None:
    with connected(url, HEAD + BEARER + b"Content-Length: 100\r\n\r\n{") as connection:
        assert is_served(url)
        told = b""
        while b"the body did not come within 0 s" not in told:
            told += (piece := connection.recv(65536))
            assert piece, told
        assert told.startswith(b"HTTP/1.1 408")
        connection.sendall(b" ")
        answered(connection)


def test_who_has_no_token_is_answered_before_the_body_and_cut_off(url: str) -> None:
    with connected(url, HEAD + b"Content-Length: 1000000\r\n\r\n") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")
        connection.sendall(b" ")
        answered(connection)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_a_body_that_is_too_long_is_not_taken(url: str, framing: bytes) -> None:
    piece = b" " * 100_000
    with connected(url, HEAD + BEARER + framing) as connection:
        for _ in range(11):
            connection.sendall(piece if b"Length" in framing else b"186a0\r\n" + piece + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    assert is_served(url)


def test_a_head_that_is_too_long_is_refused(url: str) -> None:
    with connected(url, HEAD + b"X-Long: " + b"a" * 200_000) as connection:
        assert answered(connection)[:12] in (b"HTTP/1.1 400", b"")
    assert is_served(url)


def test_there_are_so_many_connections_at_most(
    monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(service, "CONNECTIONS", 5)
    with serving(app()) as url, ExitStack() as held:
        for _ in range(5):
            held.enter_context(connected(url))

        def refused() -> bool:
            try:
                return not is_served(url)
            except Unavailable:
                return True

        eventually(refused, what="a refusal")
        held.close()

        def served() -> bool:
            try:
                return is_served(url)
            except Unavailable:
                return False

        eventually(served, what="an answer")


def test_who_calls_too_often_waits_and_others_do_not() -> None:
    now = 1000.0
    inner = Starlette(routes=[Route("/v1/thing", lambda _: PlainTextResponse("read"))])
    client = calling(Access(inner, knowing(TOKEN, Role.VIEWER), {}, clock=lambda: now))  # type: ignore[arg-type]
    right, wrong = {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": "Bearer guessed-guessed-g"}
    with capture_logs() as logs:
        for _ in range(100):
            assert client.get("/v1/thing", headers=wrong).status_code == 401
        for _ in range(10):
            answer = client.get("/v1/thing", headers=wrong)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == "more than 50 requests a second: wait 0.02 s"
        slowed = [entry for entry in logs if entry["event"] == "a caller is slowed down"]
        assert [entry["who"] for entry in slowed] == ["testclient without a token"], "said once"
    # From the same address, but known: guesses of others don't lock it out.
    for _ in range(200):
        assert client.get("/v1/thing", headers=right).status_code == 200
    assert client.get("/v1/thing", headers=right).status_code == 429
    now += 0.01
    assert client.get("/v1/thing", headers=right).status_code == 200
    assert client.get("/v1/thing", headers=right).status_code == 429


def test_a_client_knows_that_it_may_come_again() -> None:
    assert TooManyRequests("x").exit_code == Unavailable("x").exit_code


@given(st.lists(st.floats(0, 3), max_size=200), st.sampled_from([1.0, 7.5, 50.0]))
def test_a_rate_is_kept_in_any_span(pauses: list[float], rate: float) -> None:
    rates, now, served = Rates(burst=2.0), 0.0, []
    for pause in pauses:
        now += pause / rate
        wait = rates.take("a", rate, now)
        if wait == 0:
            served.append(now)
        else:
            assert rates.take("a", rate, now + wait + 1e-9) == 0, "what it says is enough"
            now += wait + 1e-9
            served.append(now)
    for first in range(len(served)):
        for last in range(first, len(served)):
            assert last - first + 1 <= (served[last] - served[first] + 2.0) * rate + 1e-6


def test_callers_do_not_share_a_rate_and_are_forgotten() -> None:
    rates = Rates(burst=1.0, kept=2)
    for caller in ("a", "b"):
        assert [rates.take(caller, 1.0, 0.0) > 0 for _ in range(2)] == [False, True]
    assert rates.take("c", 1.0, 0.0) == 0
    assert rates.take("a", 1.0, 0.0) == 0, "it was forgotten: memory is bounded"
