"""What proves to etcd who we are: a certificate, and a user with a password.

Passwords lie in files, as tokens do: they never stand on a command line, in a log or in an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catenary.errors import InvalidValue
from catenary.tls import Identity
from catenary.token import read_private


@dataclass(frozen=True)
class Access:
    """`ca`: whom to trust, if not the system's authorities. `user`: a file with USER:PASSWORD on one line."""

    ca: Path | None = None
    identity: Identity | None = None
    user: Path | None = None

    def name_and_password(self) -> tuple[str, str]:
        """Raises `InvalidValue` for a file that others can read, or that holds something else."""
        assert self.user is not None
        name, colon, password = read_private(self.user, "file of etcd's user").strip().partition(":")
        if not (name and colon and password) or "\n" in password:
            raise InvalidValue(f"file of etcd's user {self.user} holds no USER:PASSWORD, on one line")
        return name, password


class Login:
    """The token that etcd gave for a user and a password. `ask` gets another; for threads."""

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask
        self._token: str | None = None
        self._lock = threading.Lock()

    def token(self, node: str, refused: str | None = None) -> str:
        """The token in force, or a new one of this node if that is `refused`, as after a restart of etcd."""
        with self._lock:
            if self._token is None or self._token == refused:
                self._token = self._ask(node)
            return self._token
