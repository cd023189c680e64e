"""The ID of the request that is being served: one for all that it causes, in every service that takes part.

A service takes it from the header or makes it (`catenary.access`), clients pass it on (`catenary.http`),
and every line of the log bears it (`catenary.logs`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = "X-Request-Id"
PATTERN = "[A-Za-z0-9._-]{1,64}"
_current: ContextVar[str | None] = ContextVar("request", default=None)


def current() -> str | None:
    """The ID of the request that this thread or task works for; None if it works for none."""
    return _current.get()


def accept(given: str | None) -> str:
    """The caller's ID if it is 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'; else a new one."""
    return given if given is not None and re.fullmatch(PATTERN, given) else secrets.token_hex(8)


@contextmanager
def bound(request: str | None) -> Iterator[None]:
    """Whatever is done inside is done for this request."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)
