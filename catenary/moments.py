"""Moments as people write them: ISO 8601, or how long ago."""

from __future__ import annotations

from datetime import UTC, datetime

from catenary import durations
from catenary.errors import InvalidValue


def parse(text: str, now: float) -> float:
    """Seconds since the epoch; raises `InvalidValue` that quotes the text.

    `10m` is ten minutes before `now`. A date and time without a zone is meant in the local one.
    """
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        return now - durations.parse(text)
    except InvalidValue:
        raise InvalidValue(
            f"{text!r} is not a moment: write 2026-03-01T14:30 (local time), 2026-03-01T14:30Z, or 10m for "
            "ten minutes ago"
        ) from None


def iso(at: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
