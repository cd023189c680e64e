"""The REST calls for the configuration as a whole: read, plan, apply; and the services in it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Header, Query, Response

from catenary import wire
from catenary.config import ServiceConfig
from catenary.errors import InvalidValue, NotFound
from catenary.plans import PlanView, ServiceView
from mgmt_system.applying import Applying, Condition, Options

Token = Annotated[
    str | None, Query(description="Of the plan that is applied: 409 if it is stale.", max_length=200)
]


def _options(
    force: Annotated[bool, Query(description="Even if a segment is left without a chain.")] = False,
    deadline: Annotated[
        float | None, Query(ge=0, le=1e7, description="Seconds after which removed chains are ended.")
    ] = None,
    then: Annotated[wire.Then | None, Query(description="What becomes of their sessions then.")] = None,
) -> Options:
    return Options(force, deadline, then)


def _etag(
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="ETag of what was read; 412 if it has changed.")
    ] = None,
) -> str | None:
    if if_match is None or if_match.strip() == "*":
        return None
    tag = if_match.strip()
    if len(tag) < 3 or tag[0] != '"' or tag[-1] != '"':
        raise InvalidValue(f"If-Match: {if_match} is no ETag: send back the one of GET /v1/config")
    return tag[1:-1]


How = Annotated[Options, Depends(_options)]
IfMatch = Annotated[str | None, Depends(_etag)]


def add_config_routes(app: FastAPI, applying: Applying) -> None:
    @app.get("/v1/config", tags=["configuration"])
    def show_config(response: Response) -> ServiceConfig:
        """What is in force, as a document that could be applied: chains with their tags. Its ETag is told."""
        view = applying.view()
        response.headers["ETag"] = f'"{view.revision}"'
        return view.config

    @app.post("/v1/plan", tags=["configuration"])
    def plan(config: ServiceConfig, how: How) -> PlanView:
        """What applying a document would change now, and what it would cost. Changes nothing."""
        return applying.plan(config, how)

    @app.put(
        "/v1/config", status_code=202, responses={204: {"description": "It is so"}}, tags=["configuration"]
    )
    def apply(
        config: ServiceConfig, response: Response, how: How, etag: IfMatch, plan: Token = None
    ) -> wire.OperationView:
        """Make a document true: all of it is accepted, or nothing. Poll the operation at `Location`.

        What one segment gets and loses goes together. 204 without an operation if there is nothing to do.
        """
        operation = applying.apply(config, how, Condition(plan, etag))
        if operation is None:
            return Response(status_code=204)  # type: ignore[return-value]
        response.headers["Location"] = f"/v1/operations/{operation.id}"
        return operation

    @app.get("/v1/services", tags=["services"])
    def list_services() -> list[ServiceView]:
        """All services. A segment that none names is a service of its own name."""
        return applying.services()

    @app.get("/v1/services/{name}", tags=["services"])
    def show_service(name: str) -> ServiceView:
        """One service: its segments in a row, and their chains with their load."""
        services = {service.name: service for service in applying.services()}
        if name not in services:
            raise NotFound(f"unknown service {name!r}: there is {', '.join(services) or 'none'}")
        return services[name]
