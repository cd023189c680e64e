"""Tokens lie in files: they never stand on a command line, in a log or in an error."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from catenary.errors import InvalidValue

SHORTEST = 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_token(path: Path | None) -> str | None:
    """The token in a file, stripped; None without a file. Raises `InvalidValue` that names the file."""
    if path is None:
        return None
    token = read_private(path, "token file").strip()
    if len(token) < SHORTEST:
        raise InvalidValue(f"token file {path} holds fewer than {SHORTEST} characters")
    if not token.isascii() or any(character.isspace() for character in token):
        raise InvalidValue(f"token file {path} holds more than a token: write it alone, on one line")
    return token


def read_private(path: Path, what: str) -> str:
    """The text of a file that its owner alone can read. Raises `InvalidValue` that names it, and the fix."""
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise InvalidValue(f"{what} {path} is open to others (mode {mode:03o}): chmod 600 {path}")
            return file.read()
    except OSError as error:
        raise InvalidValue(f"{what} {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidValue(f"{what} {path} can't be read: it is no text") from None


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, all of it or nothing. Raises `InvalidValue`."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise InvalidValue(f"{path} can't be written: {error.strerror}") from error


def stamp(path: Path) -> tuple[int, ...] | None:
    """Changes whenever the file does; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
