"""The OpenAPI page of a service: FastAPI's, with problem documents for errors and a summary for each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from catenary import request_id
from catenary.errors import Forbidden, InvalidValue, TooManyRequests, Unauthorized
from catenary.problems import described
from catenary.roles import Role
from catenary.wire import Problem

SCHEME = "token"
_HEADER = {
    request_id.HEADER: {
        "description": "The ID of this request, as in the logs: the caller's, or a new one.",
        "schema": {"type": "string", "pattern": f"^{request_id.PATTERN}$"},
    }
}
_OF_BODIES = {
    "408": described("Body too slow"),
    "413": described("Body too large"),
    "415": described("Body of another media type"),
}


def document(app: FastAPI, roles: Mapping[str, Role] | None) -> dict[str, Any]:
    """The whole page; `roles`: its calls need a token, of these roles."""
    if app.openapi_schema is None:
        page = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        schemas = page.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas[Problem.__name__] = Problem.model_json_schema()
        for methods in page["paths"].values():
            for call in methods.values():
                _complete(call, roles)
        app.openapi_schema = page
    return app.openapi_schema


def _complete(call: dict[str, Any], roles: Mapping[str, Role] | None) -> None:
    """The first sentence of what a call says of itself is its summary; its errors are problem documents."""
    call["summary"] = call["description"].split("\n\n")[0].replace("\n", " ").rstrip(".")
    answers = call["responses"]
    if "422" in answers:  # it has parameters or a body
        answers["422"] = described(InvalidValue.title)
    if roles is not None:
        call["security"] = [{SCHEME: [roles.get(call["operationId"], Role.ADMIN)]}]
        answers["401"] = described(Unauthorized.title)
    answers["403"] = described(Forbidden.title)
    answers["429"] = described(TooManyRequests.title)
    if "requestBody" in call:
        answers |= _OF_BODIES
    for answer in answers.values():
        answer["headers"] = answer.get("headers", {}) | _HEADER
    call["responses"] = dict(sorted(answers.items()))
