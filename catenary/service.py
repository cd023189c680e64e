"""The shell that the three REST services share: problem documents, the token, and how they are served."""

from __future__ import annotations

import hmac
import signal
import socket
from typing import Any

import structlog
import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from catenary import __version__
from catenary.errors import CatenaryError, Conflict, InvalidValue, Unauthorized, from_problem
from catenary.listen import Listen
from catenary.wire import Problem, explain

_log = structlog.get_logger("rest")
_REFUSALS = {Unauthorized.status, Conflict.status, InvalidValue.status}
"""What goes into the log: a caller that has no right to ask, or asks for what can't be."""


def create_app(title: str, token: str | None, lifespan: Any = None) -> FastAPI:
    """A FastAPI app whose errors are problem documents and whose calls all need `token` if there is one."""

    def authorize(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
            raise Unauthorized("this service needs its token: send 'Authorization: Bearer TOKEN'")

    app = FastAPI(
        title=title,
        version=__version__,
        lifespan=lifespan,
        dependencies=[Depends(authorize)],
        responses={"default": {"model": Problem, "description": "Problem document (RFC 9457)"}},
    )

    @app.exception_handler(CatenaryError)
    async def _catenary(request: Request, error: CatenaryError) -> JSONResponse:
        return _problem(request, error.status, error.title, error.detail)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(request, InvalidValue.status, InvalidValue.title, explain(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        title = from_problem(error.status_code, "").title
        return _problem(request, error.status_code, title, f"{request.url.path}: {error.detail}")

    return app


def _problem(request: Request, status: int, title: str, detail: str) -> JSONResponse:
    if status in _REFUSALS:
        caller = request.client.host if request.client else None
        _log.warning("refused", call=request.url.path, caller=caller, status=status, reason=detail)
    body = Problem(title=title, status=status, detail=detail, instance=request.url.path)
    return JSONResponse(body.model_dump(), status, media_type="application/problem+json")


def server(app: FastAPI, listen: Listen) -> uvicorn.Server:
    """A uvicorn server for `app`; for `run`, or for a thread of its own."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=listen.host,
            port=listen.port,
            ssl_certfile=listen.tls_cert,
            ssl_keyfile=listen.tls_key,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )


def run(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then return, so that the caller can clean up.

    Uvicorn ends at these signals by itself, and then raises them once more: that must not end us early.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=sockets)
