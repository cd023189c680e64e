"""Where a service may listen: loopback by default, elsewhere only with TLS and a token."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from catenary.callers import CallerFile, Callers
from catenary.errors import Conflict, InvalidValue
from catenary.tls import Identity


def is_loopback(host: str) -> bool:
    """Is this address or name one that only this machine reaches?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Listen:
    """Where a service listens, and what protects it: a certificate, the CA of its callers', and a table of
    tokens.

    Anything but a loopback address needs TLS and a token: whoever reaches these services steers traffic.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tokens: Path | None = None
    asks_by: str = "--tokens"
    """What a user names the tokens by."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidValue(f"port {self.port} is out of range: use 0..65535")
        shown = self.identity
        if self.tls_ca is not None and shown is None:
            raise InvalidValue("--tls-ca is for callers' certificates: it needs --tls-cert and --tls-key")
        if not is_loopback(self.host) and (shown is None or self.tokens is None):
            raise InvalidValue(
                f"refusing to listen on {self.host}: an address other than loopback needs "
                f"--tls-cert, --tls-key and {self.asks_by}"
            )

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"

    @property
    def identity(self) -> Identity | None:
        """What the service shows to its callers, and to those that it calls."""
        return Identity.given(self.tls_cert, self.tls_key, "--tls-cert and --tls-key")

    def bind(self) -> socket.socket:
        """The socket to serve on: taken before the rights are given up that some ports need."""
        return bind(self.host, self.port, "REST (--port)")

    def callers(self) -> Callers | None:
        """Who may call, if not anyone. Raises `InvalidValue` for a token table that can't be used."""
        return None if self.tokens is None else CallerFile(self.tokens)


def bind(host: str, port: int, what: str) -> socket.socket:
    """A bound TCP socket; raises `Conflict` when the port is taken, `InvalidValue` for a wrong address."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # The protocol is named because asyncio sets TCP_NODELAY only then; without it answers wait 40 ms.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except socket.gaierror as error:
        raise InvalidValue(f"{host!r} is no address to listen on: {error.strerror}") from error
    except (OSError, OverflowError) as error:
        raise Conflict(f"can't listen on {host}:{port} for {what}: {error}") from error
    return bound
