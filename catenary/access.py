"""What every request to a service gets, whatever becomes of it: an ID, a check who asks, a bound on its
body, a line in the log, and an answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catenary import guard, request_id
from catenary.callers import Callers
from catenary.errors import Forbidden, TooManyRequests, Unauthorized
from catenary.problems import problem
from catenary.rates import KEPT, Rates
from catenary.roles import ANYONE, Role

BODY_LIMIT = 1 << 20
"""Bytes of a request's body, unless its path has a limit of its own."""
BODY_S, BODY_RATE = 10.0, 1e6
"""Seconds that a body may take, and bytes a second beyond that, up to its limit."""
RATES = {Role.VIEWER: 100.0, Role.OPERATOR: 1000.0, Role.ADMIN: 1000.0}
"""Requests a second of one caller; the other parts of the system are operators and admins."""
REFUSED_RATE = 50.0
"""Of requests without a token that is known, by address."""
READS = ("GET", "HEAD", "OPTIONS")
POLICY_VIOLATION = 1008
"""Why a web socket is refused (RFC 6455)."""
_log = structlog.get_logger("rest")


class Access:
    """ASGI middleware. `callers`: who may call, if not anyone; `limits`: bytes of the bodies of these paths.

    Who calls is in `scope["state"]["caller"]`: what it may do is for the route to say. A handler says why it
    refuses in `scope["state"]["refusal"]`, and that its call is none of an operator in
    `scope["state"]["quiet"]`.
    """

    def __init__(
        self,
        app: ASGIApp,
        callers: Callers | None,
        limits: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._rates, self._throttled = Rates(), set[str]()
        self._app = app
        self._callers = callers
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._pass_on(scope, receive, send)
            return
        scope.setdefault("state", {})
        served = request_id.accept(Headers(scope=scope).get(request_id.HEADER))
        limit = self._limits.get(scope["path"], BODY_LIMIT)
        began = time.perf_counter()
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)[request_id.HEADER] = served
                _tell(scope, message["status"], time.perf_counter() - began)
            await send(message)

        with request_id.bound(served):
            try:
                self._check(scope)
                await self._app(scope, _bounded(receive, limit), answer)
            except TooManyRequests as error:
                scope["state"]["quiet"] = True
                later = {"Retry-After": str(math.ceil(error.wait))}
                refusal = problem(error.status, error.detail, _path(scope), error.title, later)
                await refusal(scope, receive, answer)
            except (Unauthorized, Forbidden) as error:
                scope["state"]["refusal"] = error.detail
                headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
                refusal = problem(error.status, error.detail, _path(scope), error.title, headers)
                await refusal(scope, receive, answer)
            except Exception as error:
                _log.exception("failed", method=scope["method"], path=_path(scope))
                if started:
                    raise  # the rest of a stream is missing: only a cut connection says so
                fault = f"unexpected {type(error).__name__}: the log of this service tells more"
                await problem(500, fault, _path(scope))(scope, receive, answer)

    def _check(self, scope: Scope) -> None:
        """Raises `Unauthorized`, `Forbidden` or `TooManyRequests`, before anything of it is looked at."""
        headers = Headers(scope=scope)
        if scope["path"].startswith(guard.GUARDED):
            address = scope["client"][0] if scope.get("client") else "nowhere"
            try:
                caller = guard.check_token(headers, self._callers)
            except Unauthorized:
                self._take(f"{address} without a token", REFUSED_RATE)
                raise
            scope["state"]["caller"] = caller
            self._take(f"{address} as {caller.name}", RATES[caller.role])
            guard.check_page(headers, asked=self._callers is not None)

    def _take(self, who: str, rate: float) -> None:
        """Raises `TooManyRequests`; that it begins is said once."""
        wait = self._rates.take(who, rate, self._clock())
        if wait == 0:
            self._throttled.discard(who)
            return
        if who not in self._throttled:
            if len(self._throttled) >= KEPT:
                self._throttled.clear()
            self._throttled.add(who)
            _log.warning("a caller is slowed down", who=who, per_second=rate)
        raise TooManyRequests(f"more than {rate:g} requests a second: wait {wait:.2f} s", wait)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A start or an end, or a web socket."""
        try:
            if scope["type"] == "websocket":
                guard.check_page(Headers(scope=scope), asked=self._callers is not None)
        except Forbidden as error:
            _log.warning("refused", path=_path(scope), reason=error.detail)
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        else:
            await self._app(scope, receive, send)


def _bounded(receive: Receive, limit: int) -> Receive:
    """In bytes, and in time: as long as the body is not whole."""
    taken, whole = 0, False
    patience = BODY_S + limit / BODY_RATE
    deadline = asyncio.get_running_loop().time() + patience

    async def take() -> Message:
        nonlocal taken, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {patience:.0f} s") from None
        whole = not message.get("more_body", False)
        taken += len(message.get("body", b""))
        if taken > limit:
            raise HTTPException(413, f"the body is longer than {limit} bytes")
        return message

    return take


def _tell(scope: Scope, status: int, seconds: float) -> None:
    caller = scope["client"][0] if scope.get("client") else None
    fields = {"method": scope["method"], "path": _path(scope), "status": status, "caller": caller}
    if (known := scope["state"].get("caller")) not in (None, ANYONE):
        fields["token"] = known.name
    fields["ms"] = round(1000 * seconds, 1)
    state = scope["state"]
    if "refusal" in state:
        _log.warning("refused", **fields, reason=state["refusal"])
    elif scope["method"] in READS or state.get("quiet"):
        _log.debug("answered", **fields)
    else:
        _log.info("answered", **fields)


def _path(scope: Scope) -> str:
    """As it came: control characters are encoded there."""
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1").partition("?")[0]
