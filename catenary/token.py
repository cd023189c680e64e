"""Tokens lie in files: they never stand on a command line, in a log or in an error."""

from __future__ import annotations

from pathlib import Path

from catenary.errors import InvalidValue

SHORTEST = 16


def read_token(path: Path | None) -> str | None:
    """The token in a file, stripped; None without a file. Raises `InvalidValue` that names the file."""
    if path is None:
        return None
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InvalidValue(f"token file {path} can't be read: {error.strerror}") from error
    if len(token) < SHORTEST:
        raise InvalidValue(f"token file {path} holds fewer than {SHORTEST} characters")
    return token
