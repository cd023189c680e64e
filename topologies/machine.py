"""What there is in these namespaces: network interfaces and processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from catenary.errors import InvalidValue
from topologies.ovs import alive


def check_links(ports: Sequence[str], control_port: str | None) -> None:
    """Raise `InvalidValue` for an interface that is not here."""
    for port in (*ports, *([control_port] if control_port else [])):
        if port not in links():
            raise InvalidValue(f"no network interface {port!r} here: there are {', '.join(sorted(links()))}")


def links() -> set[str]:
    """The network interfaces of this namespace."""
    return {name for _, name in socket.if_nameindex()}


def processes() -> set[str]:
    """Every process that this PID namespace shows, but for zombies and this process: "PID COMMAND"."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and alive(int(entry.name)):
            with suppress(FileNotFoundError, ProcessLookupError):
                found.add(f"{entry.name} {(entry / 'cmdline').read_text().replace(chr(0), ' ').strip()}")
    return found
