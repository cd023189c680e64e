"""The dashboard of a testbed: it asks inside the testbed's namespaces, and listens outside for browsers."""

from __future__ import annotations

import socket

from topologies.hosts import Host
from topologies.services import Service, Services

PORT = 8090


def listen() -> socket.socket:
    """A socket on this host's loopback: call it before `namespaces.isolate()`, and keep it.

    A socket stays in the network namespace in which it was made. Another port if the usual one is taken.
    """
    try:
        return socket.create_server(("127.0.0.1", PORT))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def start(services: Services, host: Host, listening: socket.socket) -> str:
    """Start it on `host`, from which the management system is reached; its URL. It answers soon."""
    number = listening.fileno()
    command = ("dashboard", "--socket-fd", str(number))
    services.start(Service("dashboard", host, "mgmt_system", command, lambda: True, (number,)))
    return f"http://127.0.0.1:{listening.getsockname()[1]}"
