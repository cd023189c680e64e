"""Who may see the dashboard: the browser's own site only, and who has a token of the management
system if that asks for one.

A browser sends requests for any page that it shows. Without the check of `catenary.guard`, a page from
elsewhere could press our buttons (its requests come from this machine), or read all by a name that it lets
lead here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catenary import guard
from catenary.errors import CatenaryError, Forbidden, Unauthorized
from catenary.roles import ANYONE, Caller

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
WRONG = "The management system does not know this token."
log = structlog.get_logger("dashboard")


@dataclass(frozen=True)
class Login:
    """Who is signed in; what is asked for from the page is asked for with this token."""

    caller: Caller = ANYONE
    token: str | None = field(default=None, repr=False)


class Gate:
    """ASGI middleware. `sign_in` says whose token that is, or raises; None: there is no need of one.

    `secure`: the browser comes by TLS, and its cookie shall not go any other way. Who is signed in is in
    `scope["state"]["login"]`.
    """

    def __init__(self, app: ASGIApp, sign_in: Callable[[str], Caller] | None, *, secure: bool) -> None:
        self._app = app
        self._sign_in = sign_in
        self._secure = secure
        self._sessions: dict[str, Login] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        link = scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate"
        try:
            guard.check_page(headers, asked=self._sign_in is not None, link=link)
        except Forbidden as error:
            log.warning("refused", path=scope["path"], reason=error.detail)
            await _answer(scope, receive, send, PlainTextResponse(error.detail, error.status))
            return
        if scope["type"] == "http" and self._sign_in is not None and scope["path"] in (LOGIN, LOGOUT):
            request = Request(scope, receive)
            answer = await (self._login(request) if scope["path"] == LOGIN else self._logout(request))
            await _answer(scope, receive, send, answer)
        elif (login := await self._known(scope["path"], headers)) is None:
            await _answer(scope, receive, send, RedirectResponse(LOGIN, 303))
        else:
            scope.setdefault("state", {})["login"] = login
            await self._app(scope, receive, _safe(send))

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(_page())
        said = (await _form(request)).get("token", [""])[0].strip()
        try:
            login = await self._login_of(said)
        except CatenaryError as error:
            log.warning("refused", path=LOGIN, reason=error.detail)
            return HTMLResponse(_page(error.detail), error.status)
        session = secrets.token_urlsafe(32)
        self._sessions[session] = login
        while len(self._sessions) > SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=self._secure)
        return answer

    async def _known(self, path: str, headers: Headers) -> Login | None:
        """Who is signed in. Who opens the page is looked up again: a token may have been revoked."""
        if self._sign_in is None:
            return Login()
        session = _cookie(headers)
        login = self._sessions.get(session)
        if login is not None and login.token is not None and path == "/":
            try:
                self._sessions[session] = login = await self._login_of(login.token)
            except Unauthorized:
                self._sessions.pop(session, None)
                return None
            except CatenaryError:  # the page says that nobody can be asked
                pass
        return login

    async def _login_of(self, token: str) -> Login:
        """Raises `Unauthorized`, or `Unavailable` if nobody can be asked."""
        if self._sign_in is None or not token.isascii() or not token.isprintable() or not token:
            raise Unauthorized(WRONG)
        try:
            return Login(await asyncio.to_thread(self._sign_in, token), token)
        except Unauthorized:
            raise Unauthorized(WRONG) from None

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
    said = f'<p role="alert">{escape(fault)}</p>' if fault else ""
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
<label for="token">Your token of the management system</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button>
</form></main></body></html>"""
