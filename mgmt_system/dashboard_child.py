"""The dashboard beside a management system: a process of its own, which ends with it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from catenary import program, supervision
from catenary.callers import Callers
from catenary.listen import Listen
from catenary.roles import Caller, Role

OWN = Caller("dashboard", Role.VIEWER)
PATIENCE = 5.0
"""Seconds that it has to end."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def command(listen: Listen) -> list[str]:
    words = ["dashboard", "--host", listen.host, "--port", str(listen.port)]
    if listen.tls_cert is not None:
        words += ["--tls-cert", str(listen.tls_cert), "--tls-key", str(listen.tls_key)]
    return program.argv("mgmt_system", words)


def environment(management: Listen, ours: Mapping[str, str], token_file: str | None) -> dict[str, str]:
    """How it reaches the management system that listens there. A CATENARY_CA of ours holds."""
    not_its = {"CATENARY_TOKEN_FILE", *supervision.VARIABLES}
    found = {key: value for key, value in ours.items() if key not in not_its}
    found["CATENARY_URL"] = management.url
    if management.tls_cert is not None:
        found.setdefault("CATENARY_CA", str(management.tls_ca or management.tls_cert))
    if management.tls_ca is not None:
        found |= {"CATENARY_CERT": str(management.tls_cert), "CATENARY_KEY": str(management.tls_key)}
    if token_file is not None:
        found["CATENARY_TOKEN_FILE"] = token_file
    return found


@contextmanager
def _token_of(callers: Callers | None) -> Iterator[int | None]:
    """A file with a viewer's token, in memory only; it is known as long as this process lives."""
    if callers is None:
        yield None
        return
    descriptor = os.memfd_create("token")
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, callers.own(OWN).encode())
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def beside(management: Listen, port: int | None, callers: Callers | None) -> Iterator[None]:
    """While this lasts, on the same address, with the same certificate. None: there is none.

    It looks as a viewer: who signs in there brings a token, and may do what that one may.
    """
    if port is None:
        yield
        return
    argv = command(replace(management, port=port))
    # It starts before there is any other thread.
    with _token_of(callers) as token:
        path = None if token is None else f"/proc/self/fd/{token}"
        process = subprocess.Popen(
            argv,
            env=environment(management, os.environ, path),
            preexec_fn=_die_with_parent,
            pass_fds=() if token is None else (token,),
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    """The signal comes when we end, in whatever way."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
