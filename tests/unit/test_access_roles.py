"""Attacks on the calls of all services: without a token, with a lower role, with a token that was revoked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from structlog.testing import capture_logs
from typer.testing import CliRunner

from catenary import callers, cli
from catenary.callers import CallerFile, Callers
from catenary.client import ManagementClient
from catenary.errors import CatenaryError, InvalidValue
from catenary.roles import ANYONE, Caller, Role
from catenary.service import create_app
from catenary.token import read_token
from controller import rest as controller
from lb_adapter import rest as balancer
from mgmt_system.roles import ROLES
from tests.services import SERVICES
from tests.serving import calling, serving

TOKENS = {role: f"{role}-0123456789" for role in Role}
EVERYONE = Callers.of({token: Caller(f"a-{role}", role) for role, token in TOKENS.items()})
TABLES = {
    "management": ROLES,
    "controller": controller.ROLES,
    "master": balancer.ROLES,
    "slave": balancer.ROLES,
    "standby": balancer.ROLES,
}


def calls(app: FastAPI) -> Iterator[tuple[str, str, str, Role]]:
    """Name, method and path of each, and the role that the page says it needs; metrics are on no page."""
    page = app.openapi()["paths"]
    told = {call["operationId"]: call["security"] for of in page.values() for call in of.values()}
    for route in app.routes:
        if isinstance(route, APIRoute):
            [[needed]] = [scheme["token"] for scheme in told.get(route.name, [{"token": ["viewer"]}])]
            path = route.path.format(name="x", tags="2-3", operation_id="x", place="first")
            for method in sorted(route.methods):
                yield route.name, method, path, Role(needed)


def test_each_call_has_a_role_and_each_role_a_call() -> None:
    found: dict[int, set[str]] = {}
    for name, table in TABLES.items():
        with capture_logs(), SERVICES[name](EVERYONE) as app:
            found.setdefault(id(table), set()).update(call for call, *_ in calls(app))
    for table in TABLES.values():
        assert found[id(table)] == table.keys() | {"metrics"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_call_is_done_without_its_role(name: str) -> None:
    with capture_logs() as logs, SERVICES[name](EVERYONE) as app:
        client = calling(app)
        for call, method, path, needed in calls(app):
            for role, token in TOKENS.items():
                # A body that would be refused: who may not call must not even have it looked at.
                answer = client.request(
                    method, path, headers={"Authorization": f"Bearer {token}"}, content=b"{"
                )
                if role.covers(needed):
                    assert answer.status_code not in (401, 403), (call, role)
                    continue
                assert answer.status_code == 403, (call, role)
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["detail"] == (
                    f"this call needs the role {needed}, and the token 'a-{role}' has {role}: use one with "
                    f"that role (catenary token add NAME --role {needed})"
                )
                assert logs[-1]["reason"] == answer.json()["detail"]
            assert client.request(method, path).status_code == 401
    assert not [token for token in TOKENS.values() if token in str(logs)]


def test_a_call_that_nobody_gave_a_role_is_for_admins() -> None:
    app = create_app("test", EVERYONE, {})

    @app.get("/v1/new")
    def new() -> str:
        """New."""
        return "done"

    client = calling(app)
    for role, token in TOKENS.items():
        answer = client.get("/v1/new", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == (200 if role is Role.ADMIN else 403)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def run(*words: object) -> str:
    done = CliRunner().invoke(cli.build(), [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_token_is_made_kept_as_a_hash_and_revoked_without_a_restart(table: Path) -> None:
    saved = table.with_name("alice.token")
    assert run("token", "add", "alice", "--role", "operator", "--tokens", table, "--save", saved) == ""
    alice = read_token(saved)
    bob = run("token", "add", "bob", "--tokens", table).strip()
    assert alice is not None
    assert alice not in table.read_text()
    assert bob not in table.read_text()
    known = CallerFile(table)
    assert (known.find(alice), known.find(bob)) == (
        Caller("alice", Role.OPERATOR),
        Caller("bob", Role.VIEWER),
    )
    assert known.find("") is known.find(callers.hashed(alice)) is None
    assert json.loads(run("token", "list", "--tokens", table, "--json")) == [
        {"name": "alice", "role": "operator"},
        {"name": "bob", "role": "viewer"},
    ]
    own = known.own(Caller("dashboard", Role.VIEWER))
    with capture_logs() as logs:
        run("token", "revoke", "alice", "--tokens", table)
        assert known.find(alice) is None
    assert logs[0]["event"] == "tokens were read anew"
    assert known.find(bob) is not None
    assert known.find(own) is not None


@pytest.mark.parametrize(
    "text,fault",
    [
        ("alice operator", "line 1: not NAME ROLE SHA256: write it by `catenary token add NAME --tokens "),
        ("alice root " + "0" * 64, "line 1: unknown role 'root': use viewer, operator, admin"),
        ("\nAlice admin " + "0" * 64, "line 2: name of a token 'Alice' is not valid: "),
        ("alice admin " + "x" * 64, "line 1: not NAME ROLE SHA256"),
    ],
)
def test_a_table_that_can_not_be_meant_is_refused(table: Path, text: str, fault: str) -> None:
    table.write_text(text)
    table.chmod(0o600)
    with pytest.raises(InvalidValue, match=fault):
        CallerFile(table)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_can_read_is_refused_with_the_fix(table: Path, mode: int) -> None:
    run("token", "add", "bob", "--tokens", table)
    table.chmod(mode)
    fix = f"{table} is open to others (mode {mode:o}): chmod 600 {table}"
    with pytest.raises(InvalidValue) as caught:
        CallerFile(table)
    assert caught.value.detail == f"token table {fix}"
    with pytest.raises(InvalidValue) as caught:
        read_token(table)
    assert caught.value.detail == f"token file {fix}"


@pytest.mark.parametrize("harm", ["world-readable", "gone", "garbled"])
def test_a_table_that_goes_bad_while_in_use_is_said_to_and_what_was_read_holds(
    table: Path, harm: str
) -> None:
    bob = run("token", "add", "bob", "--tokens", table).strip()
    known = CallerFile(table)
    match harm:
        case "world-readable":
            os.utime(table, (0, 0))
            table.chmod(0o644)
        case "gone":
            table.unlink()
        case "garbled":
            table.write_text("what?")
    with capture_logs() as logs:
        assert known.find(bob) == Caller("bob", Role.VIEWER)
        assert known.find("another-one-0123") is None
    assert [entry["log_level"] for entry in logs] == ["error"], "said once"
    assert "tokens" in logs[0]["reason"]


@pytest.mark.parametrize(
    "words,fault", [("add bob", "there is a token 'bob'"), ("revoke eve", "unknown token 'eve'")]
)
def test_names_of_tokens_are_one_persons(table: Path, words: str, fault: str) -> None:
    run("token", "add", "bob", "--tokens", table)
    with pytest.raises(CatenaryError, match=fault):
        run("token", *words.split(), "--tokens", table)


def test_who_calls_is_told_and_written_down_by_its_token() -> None:
    token = TOKENS[Role.OPERATOR]
    with (
        SERVICES["management"](EVERYONE) as app,
        serving(app, lifespan=False) as url,
        ManagementClient(url, token=token, who="mallory@host") as client,
    ):
        assert client.caller().model_dump() == {"name": "a-operator", "role": "operator"}
        client.cordon_chain("chain-1", force=True)
        [entry] = [entry for entry in client.history(last=50) if entry.kind == "cordon"]
        assert entry.who == "a-operator"
    with SERVICES["management"]() as app:
        assert calling(app).get("/v1/caller").json() == {"name": ANYONE.name, "role": "admin"}
