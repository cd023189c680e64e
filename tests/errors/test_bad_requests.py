"""What no client of ours sends: each service answers with a problem document, and says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from catenary.wire import Problem
from tests.services import SERVICES
from tests.serving import calling

BODIES = {
    "management": "POST /v1/chains",
    "controller": "PUT /v1/chains/chain-1",
    "master": "POST /v1/changes",
    "slave": "PUT /v1/chain-set",
}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", params=BODIES)
def service(request: pytest.FixtureRequest) -> Iterator[tuple[TestClient, str, str]]:
    """A client, and the method and path of a call that takes a body."""
    method, path = BODIES[request.param].split()
    with SERVICES[request.param]() as app:
        yield calling(app, raise_server_exceptions=False), method, path


def problem(answer: Any, status: int) -> str:
    """The detail of a problem document, whole and of this status."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    found = Problem.model_validate_json(answer.content)
    assert (answer.status_code, found.status) == (status, status), found.detail
    assert len(found.detail) < 1000
    return found.detail


@pytest.mark.parametrize(
    "path", ["/", "/v1/nowhere", "/v1/chains/a%00b/c", "/v1/%F0%9F%92%A9", "/%ff", "/v1//health"]
)
def test_a_path_that_nothing_has(service: tuple[TestClient, str, str], path: str) -> None:
    assert "Not Found" in problem(service[0].get(path), 404)


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "POST", "BREW"])
def test_a_method_that_a_path_does_not_have(service: tuple[TestClient, str, str], method: str) -> None:
    answer = service[0].request(method, "/v1/health")
    assert "Method Not Allowed" in problem(answer, 405)
    assert answer.headers["allow"] == "GET"


def test_all_methods_of_a_path_are_named() -> None:
    with SERVICES["management"]() as app:
        assert calling(app).patch("/v1/chains/chain-1").headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"\xff": 1}',
        b"nfs=n1",
        b"[]",
        b"null",
        b"NaN",
        b'"\\ud800"',
        b'{"\\ud800": "\\udfff"}',
        b'{"nfs": ["\\ud800"], "segment": "\\udfff", "master_id": "\\ud800", "add": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 100_000,
        b'{"' + b"x" * 100_000 + b'": "' + b"y" * 100_000 + b'"}',
        b'{"nfs": "' + b"y" * 100_000 + b'"}',
        '{"nfs": ["\u202e\u0000💩"]}'.encode(),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_is_no_request(service: tuple[TestClient, str, str], body: bytes) -> None:
    client, method, path = service
    assert problem(client.request(method, path, content=body, headers=JSON), 422)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x", None]
)
def test_a_body_of_another_type(service: tuple[TestClient, str, str], kind: str | None) -> None:
    client, method, path = service
    headers = {"Content-Type": kind} if kind else {}
    detail = problem(client.request(method, path, content=b"{}", headers=headers), 415)
    assert detail == "the body must be JSON: send it as Content-Type: application/json"


def test_a_body_above_its_limit(service: tuple[TestClient, str, str]) -> None:
    client, method, path = service
    answer = client.request(method, path, content=b" " * (1 << 20) + b"{}", headers=JSON)
    assert problem(answer, 413) == f"{path}: the body is longer than 1048576 bytes"


@pytest.mark.parametrize("number", ["1e400", "-1", "9" * 400, "NaN", "Infinity", "1.5", "true", '"5"'])
def test_numbers_that_are_none(number: str) -> None:
    """Huge, negative, not finite, or of another type."""
    calls = {
        "management": ("POST", "/v1/chains", f'{{"nfs": ["n3"], "weight": {number}}}'),
        "controller": (
            "PUT",
            "/v1/chains/new",
            f'{{"segment": "main", "nfs": ["n2"], "tags": {{"forward": {number}, "reverse": 7}}}}',
        ),
        "master": ("POST", "/v1/changes", f'{{"add": [{{"forward": 8, "reverse": 9, "weight": {number}}}]}}'),
        "slave": ("POST", "/v1/sweep", f'{{"master_id": "m", "mode": "reset", "slot": {number}}}'),
    }
    for name, (method, path, body) in calls.items():
        with SERVICES[name]() as app:
            client = calling(app, raise_server_exceptions=False)
            problem(client.request(method, path, content=body, headers=JSON), 422)
