"""Who may call a service, and what: tokens, known by their hashes, each with a name and a role.

A service never holds a token: it holds SHA-256 of it. A token is 256 random bits that `new_token` makes, so
no slow hash is needed to keep it from being guessed, and the table is as good as useless to who reads it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from catenary.errors import Conflict, InvalidValue, NotFound
from catenary.roles import Caller, role_of
from catenary.token import read_private
from catenary.watched import Watched

_HEADER = "# name, role, SHA-256 of the token: written by `catenary token`\n"


@dataclass
class Callers:
    """Callers by the hash of their token."""

    known: dict[str, Caller] = field(default_factory=dict)

    @classmethod
    def of(cls, tokens: dict[str, Caller]) -> Callers:
        return cls({hashed(token): caller for token, caller in tokens.items()})

    def find(self, token: str) -> Caller | None:
        return self.known.get(hashed(token))

    def own(self, caller: Caller) -> str:
        """A new token for a part of this process; it is nowhere written down."""
        token = new_token()
        self.known[hashed(token)] = caller
        return token


class CallerFile(Callers):
    """Callers of a file, which is read anew when it has changed: who is revoked is out at the next call.

    Raises `InvalidValue` for a file that can't be read, or that others can. A running service goes on with
    what it read last then, and says so. `known` are those of no file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = Watched("tokens", (path,), lambda: load(path), "access")

    def find(self, token: str) -> Caller | None:
        return self._file.present().get(hashed(token)) or super().find(token)


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def load(path: Path) -> dict[str, Caller]:
    """Raises `InvalidValue` that names the file, and the line."""
    known: dict[str, Caller] = {}
    for number, line in enumerate(read_private(path, "token table").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, role, digest = line.split()
            caller = Caller(name, role_of(role))
            if len(digest) != 64 or int(digest, 16) < 0:
                raise ValueError
        except InvalidValue as error:
            raise InvalidValue(f"{path}, line {number}: {error.detail}") from None
        except ValueError:
            raise InvalidValue(
                f"{path}, line {number}: not NAME ROLE SHA256: write it by "
                f"`catenary token add NAME --tokens {path}`"
            ) from None
        known[digest.lower()] = caller
    return known


def added(known: dict[str, Caller], caller: Caller, token: str) -> dict[str, Caller]:
    """Raises `Conflict` for a name that is there."""
    if any(one.name == caller.name for one in known.values()):
        raise Conflict(f"there is a token {caller.name!r}: revoke it first, or choose another name")
    return known | {hashed(token): caller}


def revoked(known: dict[str, Caller], name: str) -> dict[str, Caller]:
    """Raises `NotFound`."""
    left = {digest: caller for digest, caller in known.items() if caller.name != name}
    if len(left) == len(known):
        names = ", ".join(sorted(caller.name for caller in known.values()))
        raise NotFound(f"unknown token {name!r}: there is {names or 'none'}")
    return left


def written(known: dict[str, Caller]) -> str:
    return _HEADER + "".join(_lines(known.items()))


def _lines(items: Iterable[tuple[str, Caller]]) -> Iterable[str]:
    return (f"{caller.name} {caller.role} {digest}\n" for digest, caller in items)
