"""The service shell and the client: where a service may listen, and one error on both ends of the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from catenary import errors
from catenary.client import ManagementClient
from catenary.http import KEPT_S
from catenary.listen import Listen
from catenary.part_clients import BalancerClient
from catenary.service import create_app, server
from catenary.token import read_token, write_private
from catenary.wire import ChainSet, Change, OperationView, Problem
from tests.serving import TOKEN, calling, knowing


def files(folder: Path) -> dict[str, Path]:
    return {"tls_cert": folder / "cert", "tls_key": folder / "key", "tokens": folder / "tokens"}


@pytest.mark.parametrize("host", ["0.0.0.0", "10.255.0.11", "::", "example.org"])
def test_it_refuses_to_listen_beyond_loopback_unprotected(host: str, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidValue, match=f"refusing to listen on {host}.*--tokens"):
        Listen(host)
    with pytest.raises(errors.InvalidValue, match="--tokens"):
        Listen(host, tls_cert=tmp_path / "c", tls_key=tmp_path / "k")
    assert Listen(host, **files(tmp_path)).url.startswith("https://")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert Listen(host).url.startswith("http://")


def test_half_of_tls_and_a_bad_port_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidValue, match="a certificate needs its key"):
        Listen(tls_cert=tmp_path)
    with pytest.raises(errors.InvalidValue, match="port 65536"):
        Listen(port=65536)


def test_a_token_is_read_from_a_file_and_must_be_long_enough(tmp_path: Path) -> None:
    assert read_token(None) is None
    write_private(tmp_path / "token", TOKEN + "\n")
    assert read_token(tmp_path / "token") == TOKEN
    write_private(tmp_path / "short", "abc")
    with pytest.raises(errors.InvalidValue, match="fewer than 16"):
        read_token(tmp_path / "short")
    with pytest.raises(errors.InvalidValue, match="No such file"):
        read_token(tmp_path / "absent")


RAISED = [
    errors.InvalidValue("forward tag 0 is out of range: use 1..4094"),
    errors.NotFound("no chain 'x'"),
    errors.Conflict("chain 'x' is cooling already"),
    errors.Unavailable("the controller can't be reached"),
    errors.Unsupported("no clsact"),
    errors.CatenaryError("broken"),
]


def app() -> FastAPI:
    made = create_app("test", None, {})

    @made.get("/v1/raise/{number}")
    def fail(number: int) -> None:
        raise RAISED[number]

    @made.post("/v1/changes")
    def change(change: Change) -> ChainSet:
        return ChainSet(segment="main", epoch=len(change.add), designated=None, pairs=[])

    return made


class Bridge(httpx.BaseTransport):
    """Hands a client's requests to an app in this process: the same bytes, no socket."""

    def __init__(self, app: FastAPI) -> None:
        self._client = calling(app, raise_server_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._client.request(
            request.method,
            request.url.raw_path.decode(),
            content=request.read(),
            headers=dict(request.headers),
        )
        return httpx.Response(answer.status_code, content=answer.content, request=request)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[BalancerClient]:
    bridge = Bridge(app())
    monkeypatch.setattr(
        httpx.HTTPTransport, "handle_request", lambda _, request: bridge.handle_request(request)
    )
    with BalancerClient("http://127.0.0.1:1") as made:
        yield made


@pytest.mark.parametrize("number", range(len(RAISED)))
def test_an_error_comes_back_as_the_same_class_with_the_same_text(
    client: BalancerClient, number: int
) -> None:
    with pytest.raises(errors.CatenaryError) as caught:
        client.send("GET", f"/v1/raise/{number}")
    assert type(caught.value) is type(RAISED[number])
    assert caught.value.detail == RAISED[number].detail


def test_a_malformed_body_is_a_problem_that_names_the_value() -> None:
    answer = calling(app()).post("/v1/changes", json={"add": [{"forward": 0, "reverse": 3}]})
    problem = Problem.model_validate_json(answer.content)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem.status, problem.instance) == (422, 422, "/v1/changes")
    assert problem.detail == "add.0.forward: VLAN ID 0 is out of range: use 1..4094"


@pytest.mark.parametrize("path,status", [("/nowhere", 404), ("/v1/changes", 405)])
def test_what_the_framework_refuses_is_a_problem_too(path: str, status: int) -> None:
    answer = calling(app()).get(path)
    assert answer.status_code == status
    assert path in Problem.model_validate_json(answer.content).detail


@pytest.mark.parametrize("given,status", [(None, 401), ("wrong", 401), (TOKEN, 404)])
def test_a_service_with_a_token_wants_it(given: str | None, status: int) -> None:
    guarded = create_app("test", knowing(), {})

    @guarded.get("/v1/thing")
    def thing() -> None:
        raise errors.NotFound("nothing")

    headers = {"Authorization": f"Bearer {given}"} if given else {}
    assert calling(guarded).get("/v1/thing", headers=headers).status_code == status


def test_a_service_that_is_away_is_unavailable_and_named() -> None:
    with (
        ManagementClient("http://127.0.0.1:1") as away,
        pytest.raises(
            errors.Unavailable, match=r"management system at http://127\.0\.0\.1:1 can't be reached"
        ),
    ):
        away.chains()


def test_waiting_polls_until_the_operation_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def view(state: str) -> OperationView:
        return OperationView.model_validate(
            {"id": "1", "kind": "add", "chain": "c", "state": state, "created": 0}
        )

    answers = [view("running"), view("succeeded")]
    naps: list[float] = []
    with ManagementClient() as client:
        monkeypatch.setattr(client, "operation", lambda _: answers.pop(0))
        done = client.wait(view("running"), 1.0, sleep=naps.append, clock=lambda: 0.0)
    assert done.state == "succeeded"
    assert len(naps) == 2


def test_a_refusal_is_an_event_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    app = create_app("test", knowing(), {})

    @app.get("/v1/taken")
    def taken() -> None:
        raise errors.Conflict("VLAN ID 7 is in use")

    client = calling(app)
    client.get("/v1/taken", headers={"Authorization": "Bearer wrong-and-secret"})
    client.get("/v1/taken", headers={"Authorization": f"Bearer {TOKEN}"})
    said = capsys.readouterr().out
    assert said.count("refused") == 2
    assert "status=401" in said
    assert "status=409" in said
    assert "VLAN ID 7 is in use" in said
    assert "wrong-and-secret" not in said
    assert TOKEN not in said


def test_a_service_keeps_a_connection_for_longer_than_its_callers() -> None:
    """Else a request may go out on one that ends at that moment, and nobody knows whether it was heard."""
    assert server(FastAPI(), Listen()).config.timeout_keep_alive > 2 * KEPT_S
