"""The client of a service of which several may run: one of them leads, and alone changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import BaseModel

from catenary.errors import Unavailable
from catenary.http import Client


class LedClient(Client):
    """`url` may be several, with commas between: when one can't be reached, the next is asked.

    What only the leader does is sent on to it, by whichever is asked; from then on it is asked.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._urls = [one.strip() for one in url.split(",")]
        super().__init__(self._urls[0], **options)

    def _request(
        self,
        method: str,
        path: str,
        body: BaseModel | bytes | None,
        query: Mapping[str, Any],
        match: str | None = None,
    ) -> httpx.Response:
        """Again at another one, if it is sure that the first did nothing."""
        for left in reversed(range(len(self._urls) + 1)):
            try:
                response = super()._request(method, path, body, query, match)
            except Unavailable as error:
                cause = error.__cause__
                unsent = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
                if not left or len(self._urls) == 1 or not (unsent or (cause and method == "GET")):
                    raise
                here = self._urls.index(self.url) if self.url in self._urls else -1
                self._turn_to(self._urls[(here + 1) % len(self._urls)])
            else:
                if response.status_code != HTTPStatus.TEMPORARY_REDIRECT:
                    return response
                self._turn_to(str(response.headers["Location"]).partition("/v1/")[0])
        raise Unavailable(f"management system at {self.url}: who leads is changing just now: try again")

    def _turn_to(self, url: str) -> None:
        if self.url.startswith("https:") and not url.startswith("https:"):
            raise Unavailable(f"management system at {self.url}: {url} leads, and is asked by no plain HTTP")
        self.url = url.rstrip("/")
        self._http.base_url = self.url
