"""The REST calls for the configuration as a whole: read, plan, apply; and the services in it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Path, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import PlainValidator, ValidationError

from catenary import wire
from catenary.config import ServiceConfig
from catenary.errors import Conflict, NotFound, Unavailable
from catenary.plans import PlanView, ServiceView
from catenary.problems import problems
from mgmt_system.applying import Applying, Condition, Options
from mgmt_system.calls import ACCEPTED, ETAG, LEAD, By, IfMatch, tag, written

Token = Annotated[
    str | None, Query(description="Of the plan that is applied: 409 if it is stale.", max_length=200)
]


async def _options(
    force: Annotated[bool, Query(description="Even if a segment is left without a chain.")] = False,
    deadline: Annotated[
        float | None,
        Query(ge=0, le=1e7, description="Seconds from when a removed chain is let go to when it is ended."),
    ] = None,
    then: Annotated[wire.Then | None, Query(description="What becomes of their sessions then.")] = None,
) -> Options:
    return Options(force, deadline, then)


def _document(
    said: Annotated[Any, PlainValidator(lambda said: said, json_schema_input_type=ServiceConfig), Body()],
) -> ServiceConfig:
    """Judged in a thread of its own: one of a thousand chains would keep the event loop from all others."""
    try:
        return ServiceConfig.model_validate(said, from_attributes=True)  # as FastAPI: refusals read alike
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


Document = Annotated[ServiceConfig, Depends(_document)]
ServiceName = Annotated[wire.Name, Path(description="name of the service")]
_APPLIED = ACCEPTED | {204: {"description": "There is nothing to do"}}
How = Annotated[Options, Depends(_options)]


def add_config_routes(app: FastAPI, applying: Applying) -> None:
    @app.get(
        "/v1/config",
        tags=["configuration"],
        response_model=ServiceConfig,
        responses={200: {"headers": ETAG}, **problems(Unavailable)},
    )
    def show_config(response: Response) -> Response:
        """What is in force, as a document that could be applied.

        Chains have their tags in it.
        """
        view = applying.view()
        tag(response, view.revision)
        return written(view.config, response)

    @app.post(
        "/v1/plan",
        tags=["configuration"],
        response_model=PlanView,
        responses=LEAD | problems(Conflict, Unavailable),
    )
    def plan_config(config: Document, how: How) -> Response:
        """What applying a document would change now, and what it would cost.

        It changes nothing.
        """
        return written(applying.plan(config, how))

    @app.put("/v1/config", status_code=202, responses=_APPLIED, tags=["configuration"])
    def apply_config(
        config: Document, response: Response, how: How, match: IfMatch, by: By, plan: Token = None
    ) -> wire.OperationView:
        """Make a document true: all of it is accepted, or nothing.

        It is true when the operation at `Location` has succeeded. What one segment gets and loses goes
        together.
        """
        operation = applying.apply(config, how, Condition(plan, match), by)
        if operation is None:
            return Response(status_code=204)  # type: ignore[return-value]
        response.headers["Location"] = f"/v1/operations/{operation.id}"
        return operation

    @app.get("/v1/services", tags=["services"])
    def list_services() -> list[ServiceView]:
        """All services.

        A segment that none names is a service of its own name.
        """
        return applying.services()

    @app.get("/v1/services/{name}", tags=["services"], responses=problems(NotFound))
    def show_service(name: ServiceName) -> ServiceView:
        """One service: its segments in a row, and their chains with their load."""
        services = {service.name: service for service in applying.services()}
        if name not in services:
            raise NotFound(f"unknown service {name!r}: there is {', '.join(services) or 'none'}")
        return services[name]
