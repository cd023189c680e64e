"""Durations as people write them: `60s`, `5m`, `1h30m`, or a plain number of seconds."""

from __future__ import annotations

import re

from catenary.errors import InvalidValue

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
HINT = "write 60s, 5m, 1h30m or a number of seconds"
PATTERN = r"^(?=.)(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s?)?$"
"""What `parse` reads, for a JSON schema."""


def parse(text: str) -> float:
    """Seconds; raises `InvalidValue` that quotes the text."""
    text = text.strip().lower()
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise InvalidValue(f"{text!r} is not a duration: {HINT}")
    return sum(float(part) * unit for part, unit in zip(match.groups("0"), _UNITS.values(), strict=True))


def text(seconds: float) -> str:
    """As `parse` reads it, to the last digit: `2h4m`, `90s` as `1m30s`, `0.25s`."""
    if seconds != int(seconds) or seconds == 0:
        return f"{seconds:.15f}".rstrip("0").rstrip(".") + "s"
    rest, words = int(seconds), []
    for letter, unit in _UNITS.items():
        count, rest = divmod(rest, int(unit))
        words += [f"{count}{letter}"] if count else []
    return "".join(words)
