"""Throw-away TLS certificates and a token, for one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from catenary import callers, certs
from catenary.roles import Caller, Role
from catenary.tls import Identity
from catenary.token import write_private

DAYS = 30
OWN = "ms"
"""Whose certificate the management system and the testbed itself show."""


@dataclass(frozen=True)
class Credentials:
    """What a run's services prove themselves with. Every file is readable by its owner only."""

    directory: Path

    @property
    def ca(self) -> Path:
        return certs.Folder(self.directory).ca

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    @property
    def tokens(self) -> Path:
        """What knows the token, for services."""
        return self.directory / "tokens"

    def identity(self, name: str = OWN) -> Identity:
        return certs.Folder(self.directory).identity(name)


def make(directory: Path, servers: Mapping[str, str]) -> Credentials:
    """A CA, a token, and a certificate for each of `servers` (name -> IP address), in `directory`.

    What is there already stays, so that machines outside can be given theirs before the run.
    """
    parts = {OWN: [], **{name: [address] for name, address in servers.items()}}
    certs.init(directory, parts, datetime.now(UTC), DAYS)
    made = Credentials(directory)
    if not made.tokens.exists():
        token = callers.new_token()
        write_private(made.token_file, token + "\n")
        known = callers.added({}, Caller("testbed", Role.ADMIN), token)
        write_private(made.tokens, callers.written(known))
    return made
