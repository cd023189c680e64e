"""TLS of services and their callers: whom to trust, what to prove oneself with, and new certificates at once.

A context is made anew before the next handshake once one of its files has changed. So certificates are
rotated by replacing files; connections that stand go on with what they began with.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from catenary.errors import InvalidValue
from catenary.token import read_private
from catenary.watched import Watched

SOON_S = 14 * 86400.0
"""A certificate that expires within so many seconds is warned of."""
_log = structlog.get_logger("tls")


@dataclass(frozen=True)
class Identity:
    """What a part proves itself with: its certificate, and the key of that."""

    cert: Path
    key: Path

    @classmethod
    def given(cls, cert: Path | None, key: Path | None, words: str) -> Identity | None:
        """None without both; raises `InvalidValue` for one of them alone. `words` name the two."""
        if (cert is None) != (key is None):
            raise InvalidValue(f"a certificate needs its key: give both or none of {words}")
        return None if cert is None or key is None else cls(cert, key)


class Renewed(ssl.SSLContext):
    """What `make` gives, made anew whenever one of `files` has changed. What can't be made is said.

    Raises what `make` raises, but only at the start: later what was made last goes on.
    """

    _contexts: Watched[ssl.SSLContext]

    @classmethod
    def of(cls, protocol: int, files: tuple[Path, ...], make: Callable[[], ssl.SSLContext]) -> Renewed:
        context = cls(protocol)
        context._contexts = Watched("certificates", files, make, "tls")
        return context

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return self._contexts.present().wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return self._contexts.present().wrap_bio(*args, **options)


def server_context(identity: Identity, ca: Path | None, clock: Callable[[], float] = time.time) -> Renewed:
    """For a service; with `ca` callers need a certificate of it. Raises `InvalidValue`."""

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # each connection shows its certificate anew
        context.options |= ssl.OP_NO_TICKET
        _prove(context, identity, clock())
        if ca is not None:
            _trust(context, ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    files = (identity.cert, identity.key, *([ca] if ca else []))
    return Renewed.of(ssl.PROTOCOL_TLS_SERVER, files, make)


def client_context(
    url: str, ca: Path | None, identity: Identity | None, clock: Callable[[], float] = time.time
) -> ssl.SSLContext:
    """For a caller: whom to trust (`ca`, or the system's authorities), and what it shows if it is asked.

    Plain HTTP asks nobody, and loading authorities is slow.
    """
    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def make() -> ssl.SSLContext:
        if ca is None:
            context = ssl.create_default_context()
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _trust(context, ca)
        if identity is not None:
            _prove(context, identity, clock())
        return context

    own = () if identity is None else (identity.cert, identity.key)
    return Renewed.of(ssl.PROTOCOL_TLS_CLIENT, (*own, *([ca] if ca else [])), make)


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(ca))
    except ssl.SSLError as error:
        raise InvalidValue(f"CA certificate {ca} is no certificate in PEM form: {error.reason}") from error
    except OSError as error:
        raise InvalidValue(f"CA certificate {ca} can't be read: {error.strerror or error}") from error


def _prove(context: ssl.SSLContext, identity: Identity, now: float) -> None:
    cert, key = identity.cert, identity.key
    read_private(key, "TLS key")
    check_dates(cert, now)
    try:
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        fault = f"certificate {cert} and TLS key {key} can't be used: {error.reason or 'they do not match'}"
        raise InvalidValue(f"{fault}: are they PEM, and of one another?") from error
    except OSError as error:
        raise InvalidValue(f"certificate {cert} can't be read: {error.strerror or error}") from error


def check_dates(cert: Path, now: float) -> None:
    """Raises `InvalidValue` for a certificate that is not valid now; warns of one that soon is not."""
    begin, end = validity(cert)
    if not begin <= now < end:
        word = "expired at" if now >= end else "is not valid before"
        moment = _told(end if now >= end else begin)
        raise InvalidValue(
            f"certificate {cert} {word} {moment}: make another (catenary certs renew), or set the clock"
        )
    if end - now < SOON_S:
        _log.warning("a certificate expires soon", file=str(cert), at=_told(end), fix="catenary certs renew")


def validity(cert: Path) -> tuple[float, float]:
    """Seconds since the epoch. Raises `InvalidValue`."""
    from cryptography import x509  # no command without TLS should wait for it

    try:
        found = x509.load_pem_x509_certificate(cert.read_bytes())
    except OSError as error:
        raise InvalidValue(f"certificate {cert} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidValue(f"certificate {cert} is no certificate in PEM form") from error
    return found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()


def _told(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
