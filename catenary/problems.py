"""Errors as problem documents (RFC 9457), and what OpenAPI says of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from catenary.errors import CatenaryError
from catenary.wire import Problem

MEDIA_TYPE = "application/problem+json"
_SCHEMA = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}


def problem(
    status: int, detail: str, instance: str, title: str | None = None, headers: Any = None
) -> JSONResponse:
    """An answer; without a `title` it has that of its HTTP status."""
    title = title or HTTPStatus(status).phrase
    body = Problem(title=title, status=status, detail=detail, instance=instance)
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


def described(description: str) -> dict[str, Any]:
    """A problem document as an answer in an OpenAPI page."""
    return {"description": description, "content": {MEDIA_TYPE: _SCHEMA}}


def problems(*kinds: type[CatenaryError]) -> dict[int | str, dict[str, Any]]:
    """The errors that a route may answer with, besides those of its token, parameters and body."""
    return {kind.status: described(kind.title) for kind in kinds}
