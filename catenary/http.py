"""The base of all clients: one REST service over httpx, its errors and its pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from catenary import request_id, wire
from catenary.errors import CatenaryError, Unavailable, from_problem
from catenary.tls import Identity, client_context

T = TypeVar("T")
KEPT_S = 20.0
"""A connection that nobody uses is kept for so long; services keep it longer, lest a request meet its end."""


class Client:
    """One service: `url`, its token, and the CA certificate that signs its TLS certificate.

    `identity` is what it is shown, if it asks for a certificate.

    Raises the service's own error (`catenary.errors`), or `Unavailable` when it can't be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca: Path | None = None,
        identity: Identity | None = None,
        timeout: float = 10.0,
        what: str = "service",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._what = what
        self._headers = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        # trust_env off: a proxy variable of the shell must not carry control traffic elsewhere.
        self._ways: dict[str, Any] = {
            "verify": client_context(self.url, ca, identity),
            "trust_env": False,
            "limits": httpx.Limits(keepalive_expiry=KEPT_S),
        }
        self._timeout = timeout
        self._transport = httpx.HTTPTransport(**self._ways)
        self._http = httpx.Client(
            transport=self._transport,
            base_url=self.url,
            headers=self._headers,
            trust_env=False,
            timeout=timeout,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: BaseModel | None = None,
        *,
        match: str | None = None,
        **query: Any,
    ) -> T:
        """One request whose JSON answer is of type `answer`.

        With `match`, the `revision` that was read, it is refused if that is not the present one.
        """
        return self._read(self._request(method, path, body, query, match), answer)

    def send(
        self,
        method: str,
        path: str,
        body: BaseModel | bytes | None = None,
        *,
        match: str | None = None,
        **query: Any,
    ) -> bytes:
        """One request; the raw body of the answer."""
        return self._request(method, path, body, query, match).content

    def revision(self, path: str) -> str:
        """The revision of what a GET shows: its ETag, as `match` takes it."""
        return self._request("GET", path, None, {}).headers["ETag"].strip('"')

    def pages(self, path: str, answer: type[T], **query: Any) -> Iterator[T]:
        """The answer to a GET, and that of each page that it links to as the next."""
        response = self._request("GET", path, None, query)
        yield self._read(response, answer)
        while following := response.links.get("next"):
            response = self._request("GET", following["url"], None, {})
            yield self._read(response, answer)

    def _read(self, response: httpx.Response, answer: type[T]) -> T:
        try:
            found: T = _reader(answer).validate_json(response.content)  # type: ignore[arg-type]
            return found
        except ValidationError as error:
            asked = f"{response.request.method} {response.request.url.path}"
            raise CatenaryError(
                f"{self._what} at {self.url}: its answer to {asked} is not understood "
                f"({wire.explain(error.errors())}): is it of the same version?"
            ) from error

    def _request(
        self,
        method: str,
        path: str,
        body: BaseModel | bytes | None,
        query: Mapping[str, Any],
        match: str | None = None,
    ) -> httpx.Response:
        condition = {} if match is None else {"If-Match": f'"{match}"'}
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        typed = {"Content-Type": kind} if body is not None else {}
        given = {key: value for key, value in query.items() if value is not None}
        request = httpx.Request(
            method,
            self.url + path,
            content=body.model_dump_json() if isinstance(body, BaseModel) else body,
            headers={**self._headers, **typed, **condition, **_on_behalf()},
            params=given or None,  # httpx takes {} for: drop the path's own
            extensions={"timeout": httpx.Timeout(self._timeout).as_dict()},
        )
        response = self._exchange(request)
        if response.is_error:
            raise _error(response)
        return response

    def _exchange(self, request: httpx.Request) -> httpx.Response:
        """By the transport itself: cookies, redirects and logins would take twice as long, and no service has
        any."""
        try:
            response = self._transport.handle_request(request)
            response.request = request
            with closing(response):
                response.read()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        return response

    def stream(self, path: str, *, silence: float | None = None, **query: Any) -> Iterator[bytes]:
        """The body of a GET, piece by piece as it comes. There may be `silence` of so many s between two."""
        params = {key: value for key, value in query.items() if value is not None}
        timeout = self._patience(silence)
        try:
            with self._http.stream(
                "GET", path, params=params, headers=_on_behalf(), timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                    raise _error(response)
                yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    async def follow(self, path: str, *, silence: float | None = None, **query: Any) -> AsyncIterator[bytes]:
        """The same for a loop: on a connection of its own, which ends at once when nobody reads any more."""
        params = {key: value for key, value in query.items() if value is not None}
        timeout, headers = self._patience(silence), self._headers | _on_behalf()
        try:
            async with (
                httpx.AsyncClient(**self._ways, timeout=timeout) as http,
                http.stream("GET", self.url + path, params=params, headers=headers) as response,
            ):
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                async for piece in response.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _patience(self, silence: float | None) -> httpx.Timeout:
        return httpx.Timeout(self._timeout, read=self._timeout + (silence or 0.0))

    def _unreachable(self, error: httpx.HTTPError) -> Unavailable:
        fault = str(error) or type(error).__name__
        if self.url.startswith("https:") and isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError)):
            # In TLS 1.3 who calls is through with its handshake before its certificate is looked at.
            fault += (
                "; if it wants certificates of callers, it may refuse ours (CATENARY_CERT): see its --tls-ca"
            )
        return Unavailable(f"{self._what} at {self.url} can't be reached: {fault}")


@cache
def _reader(answer: Any) -> TypeAdapter[Any]:
    """Making one takes longer than most answers take to read."""
    return TypeAdapter(answer)


def _on_behalf() -> dict[str, str]:
    """What is asked of others in the course of a request bears its ID."""
    served = request_id.current()
    return {request_id.HEADER: served} if served else {}


def _error(response: httpx.Response) -> CatenaryError:
    try:
        detail = wire.Problem.model_validate_json(response.content).detail
    except ValueError:
        detail = f"{response.request.url}: HTTP {response.status_code}"
    return from_problem(response.status_code, detail)
