"""`catenary dashboard`: serve the web page."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from catenary.client import ManagementClient
from catenary.errors import CatenaryError, InvalidValue
from catenary.listen import Listen
from catenary.options import LogFormat, LogFormatOption, LogLevel, LogLevelOption

PORT = 8090


def dashboard(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = PORT,
    socket_fd: Annotated[
        int | None, typer.Option("--socket-fd", help="Listen on this inherited socket instead.", min=0)
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of the TLS certificate (PEM).")] = None,
    log_level: LogLevelOption = LogLevel.INFO,
    log_format: LogFormatOption = LogFormat.AUTO,
) -> None:
    """Serve the dashboard, a web page, until SIGTERM.

    It is a client like any other command: CATENARY_URL, CATENARY_TOKEN_FILE and CATENARY_CA say how it
    reaches the management system; a viewer's token is enough. With a token, who opens the page is asked
    for one, and may do what its role covers. `catenary ms run --dashboard PORT` starts one beside the
    management system.

    Examples:

        catenary dashboard

        CATENARY_TOKEN_FILE=token catenary dashboard --host 192.0.2.1 --tls-cert cert.pem --tls-key key.pem
    """
    # Imported here: no other command should wait for it.
    from catenary import logs
    from catenary.service import run, server

    logs.configure(log_level, log_format, service="dashboard")
    token_file = os.environ.get("CATENARY_TOKEN_FILE")
    listen = Listen(
        host,
        port,
        tls_cert,
        tls_key,
        tokens=Path(token_file) if token_file else None,
        asks_by="CATENARY_TOKEN_FILE",
    )

    def connect(who: str | None, why: str | None, token: str | None = None, /) -> ManagementClient:
        return ManagementClient.from_environment(why, who=who, token=token)

    from mgmt_system.dashboard.hub import Hub
    from mgmt_system.dashboard.server import create

    app = create(Hub(connect), asked=listen.tokens is not None, secure=tls_cert is not None)
    uvicorn_server = server(app, listen, websockets=True)
    run(uvicorn_server, None if socket_fd is None else [_inherited(socket_fd)])
    if not uvicorn_server.started:
        raise CatenaryError(f"the dashboard could not listen on {listen.url}: is the port in use?")


def _inherited(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise InvalidValue(f"--socket-fd {descriptor} is no socket: {error.strerror}") from error
