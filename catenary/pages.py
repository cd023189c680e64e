"""Lists that come in pages: where the next one is (RFC 8288)."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request, Response

LINK = {"Link": {"description": "the next page, if there is more", "schema": {"type": "string"}}}


def link(request: Request, response: Response, after: str) -> None:
    """Tell where the next page is."""
    query = {**request.query_params, "after": after}
    response.headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
