"""Who may see the dashboard: the browser's own site only, and who knows the token if there is one.

A browser sends requests for any page that it shows. Without the check of `catenary.guard`, a page from
elsewhere could press our buttons (its requests come from this machine), or read all by a name that it lets
lead here.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catenary import guard
from catenary.errors import Forbidden

COOKIE = "catenary-dashboard"
LOGIN, LOGOUT = "/login", "/logout"
BODY_LIMIT = 4096
SESSIONS = 100
"""Browsers that are signed in at a time; the oldest has to sign in again."""
_SAFE = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none at all, a form's origin would be null
}
log = structlog.get_logger("dashboard")


class Gate:
    """ASGI middleware. `secure`: the browser comes by TLS, and its cookie shall not go any other way."""

    def __init__(self, app: ASGIApp, token: str | None, *, secure: bool) -> None:
        self._app = app
        self._token = token
        self._secure = secure
        self._sessions: dict[str, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        link = scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate"
        known = self._token is None or _cookie(headers) in self._sessions
        try:
            guard.check_page(headers, self._token, link=link)
        except Forbidden as error:
            log.warning("refused", path=scope["path"], reason=error.detail)
            await _answer(scope, receive, send, PlainTextResponse(error.detail, error.status))
            return
        if scope["type"] == "http" and self._token is not None and scope["path"] in (LOGIN, LOGOUT):
            request = Request(scope, receive)
            answer = await (self._login(request) if scope["path"] == LOGIN else self._logout(request))
            await _answer(scope, receive, send, answer)
        elif not known:
            await _answer(scope, receive, send, RedirectResponse(LOGIN, 303))
        else:
            await self._app(scope, receive, _safe(send))

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(_page())
        said = (await _form(request)).get("token", [""])[0].strip()
        if not hmac.compare_digest(said.encode(), (self._token or "").encode()):
            log.warning("refused", path=LOGIN, reason="a wrong token")
            return HTMLResponse(_page("This is not the token of this service."), 401)
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        while len(self._sessions) > SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=self._secure)
        return answer

    async def _logout(self, request: Request) -> Response:
        if request.method == "POST":
            self._sessions.pop(_cookie(request.headers), None)
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE)
        return answer


async def _form(request: Request) -> dict[str, list[str]]:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT:
            return {}
    return parse_qs(body.decode(errors="replace"))


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _safe(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_SAFE)
        await send(message)

    return answer


async def _answer(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await response(scope, receive, _safe(send))


def _page(fault: str = "") -> str:
    said = f'<p role="alert">{fault}</p>' if fault else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Catenary: sign in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ display: grid; place-items: center; min-height: 90vh; margin: 1rem; }}
form {{ display: grid; gap: .75rem; width: min(22rem, 100%); }}
input, button {{ font: inherit; padding: .5rem .75rem; border-radius: 6px; border: 1px solid gray; }}
[role=alert] {{ color: light-dark(#b3261e, #f2b8b5); margin: 0; }}
</style></head><body><main><form method="post" action="{LOGIN}">
<h1>Catenary</h1>{said}
<label for="token">Token of the management system</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button>
</form></main></body></html>"""
