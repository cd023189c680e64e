"""Who may call a service at all: who has a token of it, and no web page of another site.

A browser on an operator's machine reaches the loopback too, and sends what any page asks it to. So what a
page of another origin has it send is refused (Fetch Metadata, or Origin where a browser sends no more):
reading too, for a capture takes one of few places, whoever sees its answer.

A page may also let a name of its own lead to the loopback (DNS rebinding), and then counts as ours: it sees
all answers. Only the name gives it away, and where no token is asked for, none but localhost is ours.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from catenary.callers import Callers
from catenary.errors import Forbidden, Unauthorized
from catenary.roles import ANYONE, Caller

METRICS = "/metrics"
"""Where Prometheus looks, unless it is told otherwise."""
GUARDED = ("/v1/", METRICS)
"""Where a service's calls are. What is elsewhere, its OpenAPI page, says nothing of its state."""


def check_token(headers: Headers, callers: Callers | None) -> Caller:
    """Who calls. Raises `Unauthorized`."""
    if callers is None:
        return ANYONE
    scheme, _, said = headers.get("authorization", "").partition(" ")
    caller = callers.find(said.strip()) if scheme.lower() == "bearer" else None
    if caller is None:
        raise Unauthorized("this service needs a token that it knows: send 'Authorization: Bearer TOKEN'")
    return caller


def check_page(headers: Headers, *, asked: bool, link: bool = False) -> None:
    """Raises `Forbidden` for what a web page of another origin has a browser send.

    `asked`: who calls is asked for a token. `link`: it only leads here, and the page sees nothing of the
    answer; that is left to the browser.
    """
    host, origin, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site")
    if not asked and not _is_ours(host):
        raise Forbidden(
            f"unknown host {host!r}, a name that any web page may let lead here: call this service by its "
            "IP address or as localhost, or give it a token (--tokens)"
        )
    ours = site in ("same-origin", "none") if site is not None else origin in (None, *_origins(host))
    if not ours and not link:
        raise Forbidden(
            f"a web page of {origin or 'another site'} asks for this: only this service's own pages are "
            "answered, and what is no browser"
        )


def _origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"


def _is_ours(host: str) -> bool:
    """An IP address, or localhost; with a port or without."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name != "localhost":
            ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
