"""Lists that come in pages: where the next one is (RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response

from catenary.errors import InvalidValue

T = TypeVar("T")
LINK = {"Link": {"description": "the next page, if there is more", "schema": {"type": "string"}}}
Limit = Annotated[int | None, Query(ge=1, le=10000, description="At most so many; all unless given.")]
After = Annotated[str | None, Query(description="Where the page before ended: from its Link header.")]


def link(request: Request, response: Response, after: str) -> None:
    """Tell where the next page is."""
    query = {**request.query_params, "after": after}
    response.headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'


def page(
    request: Request,
    response: Response,
    items: Sequence[T],
    place: Callable[[T], str],
    limit: int | None,
    after: str | None,
    *,
    form: re.Pattern[str],
) -> Sequence[T]:
    """The first `limit` items behind `after`, and a link to the next page if there are more.

    The items are in order of their `place`, which is of this `form`.
    """
    if after is not None:
        if not form.fullmatch(after):
            raise InvalidValue(
                f"after: {after!r} is no place in this list: follow the Link of the page before"
            )
        items = [item for item in items if place(item) > after]
    if limit is None or len(items) <= limit:
        return items
    link(request, response, place(items[limit - 1]))
    return items[:limit]
