"""What calls of the REST service have in common: who makes them, what they expect, and the order of lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from catenary import request_id
from catenary.access import READS
from catenary.errors import (
    Conflict,
    InsufficientStorage,
    InvalidValue,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from catenary.problems import described, problem, problems
from catenary.roles import ANYONE, Caller
from mgmt_system.etags import Match, etag, expected
from mgmt_system.records import Author
from mgmt_system.store import NotLeader
from mgmt_system.store.ledger import Ledger

TEXT_MAX = 500
PLACE = re.compile(r"[0-9]{10}\.[0-9]{7}-.{1,80}")


async def _author(
    request: Request,
    user: Annotated[
        str | None,
        Header(alias="Catenary-User", description="Who asks: a name. With a token it is that token's."),
    ] = None,
    why: Annotated[
        str | None, Header(alias="Catenary-Why", description="Why, for the journal; percent-encoded.")
    ] = None,
) -> Author:
    """In the event loop, as all dependencies here: waiting for a thread takes longer than they do."""
    address = request.client.host if request.client else None
    caller: Caller = request.state.caller
    claimed = _said("Catenary-User", user) or "unknown"
    who = claimed if caller is ANYONE else caller.name
    return Author(who, _said("Catenary-Why", why), address, request_id.current())


def _said(header: str, value: str | None) -> str | None:
    """What a header says, percent-decoded; it must be fit for logs."""
    text = unquote(value or "").strip()
    if len(text) > TEXT_MAX or not text.isprintable():
        raise InvalidValue(f"{header} can't be kept: use up to {TEXT_MAX} printable characters on one line")
    return text or None


async def _match(
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="ETag of what was read; 412 if it has changed.")
    ] = None,
) -> Match:
    return expected(if_match)


ETAG = {"ETag": {"description": "of what is shown, for `If-Match`", "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "where the operation is polled", "schema": {"type": "string"}}}
_LEADER = {"Location": {"description": "the same call at the leader", "schema": {"type": "string"}}}
LEAD: dict[int | str, dict[str, Any]] = {
    307: described("Another management system leads") | {"headers": _LEADER}
}
CHANGES = LEAD | problems(NotFound, Conflict, PreconditionFailed, Unavailable, InsufficientStorage)
ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"headers": _LOCATION}, **CHANGES}
By = Annotated[Author, Depends(_author)]
IfMatch = Annotated[Match, Depends(_match)]


def lead_changes(app: FastAPI, ledger: Ledger) -> None:
    """From now on, have each call that changes something made at the leader, who alone writes: who follows
    sends it there (307) before it looks at it."""

    def check(request: Request) -> None:
        if request.method not in READS and not ledger.leads:
            raise NotLeader.told(ledger.standing, ledger.where)

    @app.exception_handler(NotLeader)
    async def _follow(request: Request, error: NotLeader) -> JSONResponse:
        path = request.url.path
        if error.leader is None:
            return problem(error.status, error.detail, path, error.title)
        there = request.url.replace(scheme="", netloc="")
        return problem(307, error.detail, path, headers={"Location": f"{error.leader}{there}"})

    app.router.dependencies.append(Depends(check))


def tag(response: Response, revision: int | str) -> None:
    """Say which revision is shown. It is that of the record: a reason to wait may change without it."""
    response.headers["ETag"] = etag(revision)


def ready(body: bytes, response: Response) -> Response:
    """An answer that is JSON already, with the headers of `response`."""
    return Response(body, headers=dict(response.headers), media_type="application/json")


def listed(items: Sequence[bytes], response: Response) -> Response:
    """A list of what is JSON already."""
    return ready(b"[" + b",".join(items) + b"]", response)


def written(model: BaseModel, response: Response | None = None) -> Response:
    """An answer as JSON, with the headers of `response`. What is large would else be checked once more."""
    headers = None if response is None else dict(response.headers)
    return Response(model.model_dump_json(), headers=headers, media_type="application/json")


def place(created: float, name: str) -> str:
    """Where something stands in a list: oldest first, of the same moment by name."""
    return f"{created:018.7f}-{name}"
