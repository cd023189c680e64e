"""What a browser downloads through the dashboard, as who is signed in there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from mgmt_system.dashboard.gate import Login
from mgmt_system.dashboard.hub import Hub


def streamed(
    hub: Hub, request: Request, ask: Callable[[ManagementClient], Iterator[bytes]], name: str, media_type: str
) -> Response:
    """What the management system streams, passed on as it comes; or in words why it refuses."""
    login: Login = request.state.login
    client = hub.connect(None, None, login.token)
    try:
        pieces = ask(client)
        first = next(pieces, b"")
    except CatenaryError as error:
        client.close()
        return PlainTextResponse(error.detail, error.status)

    def passed_on() -> Iterator[bytes]:
        with client:
            yield first
            yield from pieces

    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(passed_on(), media_type=media_type, headers=headers)
