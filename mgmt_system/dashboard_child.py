"""The dashboard beside a management system: a process of its own, which ends with it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from catenary import program
from catenary.listen import Listen

PATIENCE = 5.0
"""Seconds that it has to end."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def command(listen: Listen) -> list[str]:
    words = ["dashboard", "--host", listen.host, "--port", str(listen.port)]
    if listen.tls_cert is not None:
        words += ["--tls-cert", str(listen.tls_cert), "--tls-key", str(listen.tls_key)]
    return program.argv("mgmt_system", words)


def environment(management: Listen, ours: Mapping[str, str]) -> dict[str, str]:
    """How it reaches the management system that listens there. A CATENARY_CA of ours holds."""
    found = {key: value for key, value in ours.items() if key != "CATENARY_TOKEN_FILE"}
    found["CATENARY_URL"] = management.url
    if management.tls_cert is not None:
        found.setdefault("CATENARY_CA", str(management.tls_cert))
    if management.token_file is not None:
        found["CATENARY_TOKEN_FILE"] = str(management.token_file)
    return found


@contextmanager
def beside(management: Listen, port: int | None) -> Iterator[None]:
    """While this lasts, on the same address, with the same certificate and token. None: there is none."""
    if port is None:
        yield
        return
    argv = command(replace(management, port=port))
    # It starts before there is any other thread.
    process = subprocess.Popen(argv, env=environment(management, os.environ), preexec_fn=_die_with_parent)
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
