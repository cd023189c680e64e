"""The dashboard as an app of its own, with its poller and its gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, Request
from nicegui import Client, ui

from catenary.roles import Caller
from mgmt_system.dashboard.capturing import add_download
from mgmt_system.dashboard.gate import Gate, Login
from mgmt_system.dashboard.hub import Hub
from mgmt_system.dashboard.page import Page
from mgmt_system.dashboard.saving import add_backup

_STYLE = Path(__file__).with_name("style.css")
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path d="M3 6c3 24 23 24 26 0" fill="none" '
    'stroke="#4878a8" stroke-width="4" stroke-linecap="round"/></svg>'
)


def create(hub: Hub, *, asked: bool, secure: bool) -> FastAPI:
    """One a process, for NiceGUI is. `asked`: who looks must have a token. `secure`: it is served by TLS."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        poller = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            poller.cancel()
            with suppress(asyncio.CancelledError):
                await poller
            hub.close()

    app = FastAPI(title="Catenary dashboard", lifespan=lifespan, openapi_url=None)
    style = _STYLE.read_text()

    def sign_in(token: str) -> Caller:
        with hub.connect(None, None, token) as client:
            found = client.caller()
        return Caller(found.name, found.role)

    def page(client: Client, request: Request) -> None:
        ui.add_css(style)
        login: Login = request.state.login
        Page(hub, client, login, sign_in)

    add_download(app, hub)
    add_backup(app, hub)
    ui.page("/", title="Catenary", language="en-US")(page)
    ui.run_with(app, title="Catenary", favicon=_ICON, dark=None, tailwind=False, show_welcome_message=False)
    app.add_middleware(Gate, sign_in=sign_in if asked else None, secure=secure)
    return app
