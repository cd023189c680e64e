"""Changes of what is as it was read: ETags, and the If-Match that sends them back (RFC 9110). Pure."""

from __future__ import annotations

from catenary.errors import InvalidValue, PreconditionFailed

Match = frozenset[str] | None
"""ETags of which the caller wants to find one (If-Match); None: whatever there is."""


def etag(revision: int | str) -> str:
    return f'"{revision}"'


def expected(if_match: str | None) -> Match:
    """What the header asks for. Raises `InvalidValue` if it can't be read."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = frozenset(tag.strip() for tag in if_match.split(","))
    if not all(len(tag) > 2 and tag[0] == tag[-1] == '"' for tag in tags):
        raise InvalidValue(f'If-Match: {if_match} is no ETag: send back the one that was read, such as "12"')
    return tags


def unchanged(match: Match, revision: int | str, what: str) -> None:
    """Raises `PreconditionFailed` unless the caller finds what it wants to find."""
    if match is not None and etag(revision) not in match:
        raise PreconditionFailed(f"{what} has changed since it was read: read it again, and decide afresh")
