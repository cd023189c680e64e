"""Throw-away TLS certificates and a token, made by the `openssl` command for one run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catenary import callers
from catenary.errors import Unavailable, Unsupported
from catenary.roles import Caller, Role
from catenary.token import write_private
from topologies.patience import PATIENCE_S

DAYS = 30
_CONFIG = "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = {name}\n"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Credentials:
    """What a run's services prove themselves with. Every file is readable by its owner only."""

    directory: Path

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    @property
    def tokens(self) -> Path:
        """What knows the token, for services."""
        return self.directory / "tokens"

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"


def make(directory: Path, servers: Mapping[str, str]) -> Credentials:
    """A CA, a token, and a certificate for each of `servers` (name -> IP address), in `directory`.

    What is there already stays, so that machines outside can be given theirs before the run.
    """
    if shutil.which("openssl") is None:
        raise Unsupported("the openssl command is not installed: apt-get install openssl")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Credentials(directory)
    if not made.tokens.exists():
        token = callers.new_token()
        write_private(made.token_file, token + "\n")
        known = callers.added({}, Caller("testbed", Role.ADMIN), token)
        write_private(made.tokens, callers.written(known))
    _certify(made, "ca", "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    signed = ("-CA", str(made.ca), "-CAkey", str(made.key("ca")))
    for name, address in servers.items():
        _certify(
            made, name, f"subjectAltName=IP:{address}", "basicConstraints=critical,CA:FALSE", signed=signed
        )
    return made


def _certify(made: Credentials, name: str, *extensions: str, signed: tuple[str, ...] = ()) -> None:
    if made.certificate(name).exists():
        return
    config = made.directory / f"{name}.cnf"
    config.write_text(_CONFIG.format(name=name))
    argv = ["openssl", "req", "-x509", *_KEY, "-days", str(DAYS), "-config", str(config), *signed]
    argv += ["-keyout", str(made.key(name)), "-out", str(made.certificate(name))]
    for extension in (*extensions, "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid:always"):
        argv += ["-addext", extension]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode != 0:
        raise Unavailable(f"openssl could not make the certificate of {name}: {done.stderr.strip()}")
