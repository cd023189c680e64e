"""Where switches connect: on loopback, or elsewhere by mutual TLS, with certificates that may change.

os-ken could listen itself. But it reads its certificate once, waits for a handshake without end, and has two
threads at work on one connection, of which OpenSSL bears only one at a time.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from catenary.errors import InvalidValue
from catenary.listen import bind, is_loopback
from catenary.tls import Identity, server_context

HANDSHAKE_S = 5.0
HANDSHAKES = 16
"""At a time: who connects and says nothing takes up one of them for as long as a handshake may take."""
_PAUSE_S = 0.1
_READ = 1 << 16
_TLS = "--openflow-tls-cert, --openflow-tls-key and --openflow-tls-ca"

log = structlog.get_logger("controller")

Serve = Callable[[Any, Any], object]
"""Takes over a connection, a socket or `Secured`, and the address of its other end; returns at once."""


@dataclass(frozen=True)
class SwitchListen:
    """Where switches connect, and what the two show each other: all three files or none.

    Anything but a loopback address needs them: whoever could pose as a switch would be told of all chains.
    """

    host: str = "127.0.0.1"
    port: int = 6653
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None

    def __post_init__(self) -> None:
        given = [path for path in (self.tls_cert, self.tls_key, self.tls_ca) if path is not None]
        if given and len(given) < 3:
            raise InvalidValue(f"TLS with switches is mutual: give all or none of {_TLS}")
        if not given and not is_loopback(self.host):
            raise InvalidValue(
                f"refusing to listen on {self.host} (--openflow-host): an address other than loopback "
                f"needs {_TLS}"
            )

    def bind(self) -> socket.socket:
        return bind(self.host, self.port, "switches (--openflow-port)")

    def context(self) -> ssl.SSLContext | None:
        """Raises `InvalidValue` for files that can't be used."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return server_context(Identity(self.tls_cert, self.tls_key), self.tls_ca)


class Secured:
    """The service's end of a TLS connection, as a socket for two threads: one that reads, one that writes."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, seconds: float = HANDSHAKE_S) -> None:
        """Raises `OSError` for a handshake that fails, or is not over after so many seconds."""
        self._plain = plain
        self._came, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._going, server_side=True)
        self._crypt = threading.Lock()
        self._order = threading.Lock()  # what is encrypted first goes first
        deadline = time.monotonic() + seconds
        while not self._shaken():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the handshake took longer than {seconds:g} s")
            self._plain.settimeout(left)
            self._fetch()

    def recv(self, size: int) -> bytes:
        while True:
            with self._crypt:
                try:
                    return self._tls.read(size)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:  # os-ken takes these for a pause, and would ask for ever
                    raise ConnectionAbortedError(str(error)) from error
            self._fetch()

    def sendall(self, data: bytes) -> None:
        with self._order:
            with self._crypt:
                self._tls.write(data)
                sealed = self._going.read()
            self._plain.sendall(sealed)  # it may wait until the other end has read: `recv` goes on meanwhile

    def settimeout(self, seconds: float | None) -> None:
        self._plain.settimeout(seconds)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self._plain.setsockopt(level, name, value)

    def shutdown(self, how: int) -> None:
        self._plain.shutdown(how)

    def close(self) -> None:
        self._plain.close()

    def _shaken(self) -> bool:
        try:
            self._tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        finally:
            with suppress(OSError):  # it has gone: the next read says so, or what it said before
                self._plain.sendall(self._going.read())  # why we refuse it, too

    def _fetch(self) -> None:
        data = self._plain.recv(_READ)
        with self._crypt:
            if data:
                self._came.write(data)
            else:
                self._came.write_eof()


def admit(listening: socket.socket, context: ssl.SSLContext | None, serve: Serve) -> None:
    """Hand on to `serve` who connects to this bound socket, by `context` if there is one; returns at once."""
    listening.listen()
    for _ in range(HANDSHAKES):
        threading.Thread(target=_accept, args=(listening, context, serve), daemon=True).start()


def _accept(listening: socket.socket, context: ssl.SSLContext | None, serve: Serve) -> None:
    while True:
        try:
            plain, address = listening.accept()
        except OSError as error:
            log.error("no switch can connect", reason=str(error))
            time.sleep(_PAUSE_S)  # too many open files, say: that lasts
            continue
        try:
            serve(plain if context is None else Secured(plain, context), address)
        except (OSError, RuntimeError) as error:  # the latter: no further thread can be started
            plain.close()
            log.warning("a switch was refused", address=address[0], port=address[1], reason=str(error))
