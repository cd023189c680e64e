"""The shell that the three REST services share: problem documents, the token, and how they are served."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from catenary import __version__
from catenary.access import READS, Access
from catenary.callers import Callers
from catenary.errors import CatenaryError, Conflict, Forbidden, InvalidValue
from catenary.heads import Impatient
from catenary.listen import Listen
from catenary.openapi import SCHEME, document
from catenary.problems import problem
from catenary.roles import Role
from catenary.supervision import Supervisor
from catenary.tls import server_context
from catenary.wire import explain

CONNECTIONS = 512
"""At a time; who comes then is answered 503."""
KEPT_S = 60
"""A connection that nobody uses is kept for so long: callers give theirs up sooner (`http.KEPT_S`)."""
METRICS_ROLE = {"metrics": Role.VIEWER}
"""Of the call that all services have (`exposition`)."""
_REFUSALS = {Conflict.status, InvalidValue.status, Forbidden.status}
"""What goes into the log of reads, too: a caller that asks for what can't be, or is not for it."""


def create_app(
    title: str,
    callers: Callers | None,
    roles: Mapping[str, Role],
    *,
    tags: Mapping[str, str] | None = None,
    lifespan: Any = None,
    limits: Mapping[str, int] | None = None,
) -> FastAPI:
    """A FastAPI app whose errors are problem documents; its calls all need a token if there are `callers`.

    `roles` are those that its calls need, by the names of their functions; a call without one is for admins.
    `tags` group its calls, with a word on each. `limits`: bytes of a request's body, of paths that need more
    than `catenary.access.BODY_LIMIT`.
    """
    # For the OpenAPI page: `Access` asks for the token, before a body is read.
    bearer = HTTPBearer(
        scheme_name=SCHEME, description="With the role that the call needs.", auto_error=False
    )
    app = FastAPI(
        title=title,
        version=__version__,
        lifespan=lifespan,
        dependencies=[] if callers is None else [Security(bearer)],
        openapi_tags=[{"name": name, "description": text} for name, text in (tags or {}).items()],
        generate_unique_id_function=lambda route: route.name,
    )
    app.router.route_class = _guarded(METRICS_ROLE | dict(roles))
    app.openapi = partial(document, app, None if callers is None else roles)  # type: ignore[method-assign]
    app.add_middleware(Access, callers=callers, limits=limits or {})

    @app.exception_handler(CatenaryError)
    async def _catenary(request: Request, error: CatenaryError) -> JSONResponse:
        return _refuse(request, error.status, error.detail, error.title)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = error.errors()
        if isinstance(faults[0].get("input"), bytes):  # it was not even tried as JSON
            return _refuse(request, 415, "the body must be JSON: send it as Content-Type: application/json")
        if faults[0]["type"] == "json_invalid":  # it has a number in place of a key
            text = f"the body is no JSON: {faults[0]['ctx']['error']} at character {faults[0]['loc'][-1]}"
            return _refuse(request, InvalidValue.status, text, InvalidValue.title)
        return _refuse(request, InvalidValue.status, explain(faults), InvalidValue.title)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.url.path}: {error.detail}"
        if error.status_code == 400:  # FastAPI's word for a body that can't be read at all
            return _refuse(request, InvalidValue.status, f"{detail}: send JSON in UTF-8", InvalidValue.title)
        headers = {"Allow": _allowed(app, request)} if error.status_code == 405 else error.headers
        return problem(error.status_code, detail, request.url.path, headers=headers)

    return app


def _guarded(roles: Mapping[str, Role]) -> type[APIRoute]:
    """Routes that let in who has the role that they need, before a body is read."""

    class Guarded(APIRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            needed, caller = roles.get(self.name, Role.ADMIN), scope["state"]["caller"]
            if not caller.role.covers(needed):
                raise Forbidden(
                    f"this call needs the role {needed}, and the token {caller.name!r} has {caller.role}: "
                    f"use one with that role (catenary token add NAME --role {needed})"
                )
            await super().handle(scope, receive, send)

    return Guarded


def _allowed(app: FastAPI, request: Request) -> str:
    """All methods of a path: Starlette names those of its first route only."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in matching for method in route.methods or ()}))


def _refuse(
    request: Request,
    status: int,
    detail: str,
    title: str | None = None,
) -> JSONResponse:
    """A change that is refused has its reason in the log; who only looks for what is not there does not."""
    changes = request.method not in READS and 400 <= status < 500
    if changes or status in _REFUSALS:
        request.state.refusal = detail
    return problem(status, detail, request.url.path, title)


def server(app: FastAPI, listen: Listen, *, websockets: bool = False) -> Server:
    """A uvicorn server for `app`; for `run`, or for a thread of its own.

    Raises `InvalidValue` for certificates that can't be used.
    """
    identity = listen.identity
    tls = None if identity is None else server_context(identity, listen.tls_ca)
    return Server(
        uvicorn.Config(
            app,
            host=listen.host,
            port=listen.port,
            ssl_context_factory=None if tls is None else lambda *_: tls,
            log_config=None,
            access_log=False,
            # Named, or whatever else happens to be installed would be taken.
            loop="asyncio",
            http=Impatient,
            limit_concurrency=CONNECTIONS,
            ws="websockets-sansio" if websockets else "none",
            proxy_headers=False,  # the caller's address is in the log: nobody may say another
            timeout_keep_alive=KEPT_S,
            timeout_graceful_shutdown=2,
        )
    )


class Server(uvicorn.Server):
    """It tells who supervises it. `idle`: since when the service's own work rests, in s."""

    supervisor = Supervisor()

    @staticmethod
    def idle() -> float:
        return 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.supervisor.ready(f"serving on {self.config.host}:{self.config.port}")

    async def on_tick(self, counter: int) -> bool:
        self.supervisor.alive(time.monotonic(), self.idle())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.supervisor.stopping()
        await super().shutdown(sockets)


def run(
    server: Server,
    sockets: list[socket.socket] | None = None,
    *,
    idle: Callable[[], float] = Server.idle,
) -> None:
    """Serve until SIGTERM or SIGINT, then return, so that the caller can clean up.

    A watchdog hears of us while the server's loop turns and `idle`, for how many seconds the service's own
    work has rested, is less than its patience.

    Uvicorn ends at these signals by itself, and then raises them once more: that must not end us early.
    """
    server.supervisor = Supervisor.of(os.environ, os.getpid())
    server.idle = idle  # type: ignore[method-assign]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=sockets)
