"""Who may call a service at all: who knows its token, and no web page of another site.

A browser on an operator's machine reaches the loopback too, and sends what any page asks it to. So a change
is refused that comes from a page of another origin (Fetch Metadata, or Origin where a browser sends no more).
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from catenary.errors import Forbidden, Unauthorized
from catenary.listen import is_loopback

READS = ("GET", "HEAD", "OPTIONS")
GUARDED = "/v1/"
"""Where a service's calls are. What is elsewhere, its OpenAPI page, says nothing of its state."""


def check_token(headers: Headers, token: str | None) -> None:
    """Raises `Unauthorized`."""
    if token is None:
        return
    scheme, _, said = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(said.strip().encode(), token.encode()):
        raise Unauthorized("this service needs its token: send 'Authorization: Bearer TOKEN'")


def check_page(headers: Headers, token: str | None) -> None:
    """Raises `Forbidden` for what a web page of another origin has a browser send."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is None and origin is None:
        return  # no browser
    place, name = _parts(origin)
    # A name of theirs may lead to the loopback (DNS rebinding), and then the page counts as ours.
    ours = origin is None or token is not None or is_loopback(name)
    if ours and (site in ("same-origin", "none") if site else place == headers.get("host")):
        return
    raise Forbidden(
        f"a web page of {origin or 'another site'} asks for this: changes are taken from this service's own "
        "pages, and from what is no browser"
    )


def _parts(origin: str | None) -> tuple[str, str]:
    """`HOST:PORT` and `HOST` of an origin; both are empty if it has none."""
    try:
        split = urlsplit(origin or "")
    except ValueError:
        return "", ""
    return split.netloc, split.hostname or ""
