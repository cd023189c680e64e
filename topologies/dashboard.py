"""The dashboard of a testbed: it asks inside the testbed's namespaces, and listens outside for browsers."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from pyroute2 import netns

from topologies.hosts import Host
from topologies.services import Service, Services

PORT = 8090
PATIENCE = 2.0
"""Seconds that an answer may take."""


@dataclass(frozen=True)
class Listening:
    """A socket on this host's loopback, and a descriptor of the network namespace in which that is."""

    socket: socket.socket
    namespace: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def answers(self) -> bool:
        """Does the dashboard answer a browser? Asked by a thread that goes where the browser is."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._answers).result()

    def _answers(self) -> bool:
        netns.setns(self.namespace)  # the thread ends there
        try:
            return httpx.get(self.url, timeout=PATIENCE, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def listen() -> Listening:
    """Call it before `namespaces.isolate()`, and keep it. Another port if the usual one is taken.

    A socket stays in the network namespace in which it was made.
    """
    try:
        found = socket.create_server(("127.0.0.1", PORT))
    except OSError:
        found = socket.create_server(("127.0.0.1", 0))
    return Listening(found, os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))


def start(services: Services, host: Host, listening: Listening) -> str:
    """Start it on `host`, from which the management system is reached; its URL. Wait for `dashboard`."""
    number = listening.socket.fileno()
    command = ("dashboard", "--socket-fd", str(number))
    services.start(Service("dashboard", host, "mgmt_system", command, listening.answers, (number,)))
    return listening.url
