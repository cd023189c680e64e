"""Requests with SQL injections in their URI, ordinary ones, and what fetches them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

from topologies.hosts import Host, inside
from topologies.patience import PATIENCE_S

CONDITION, UNION, STATEMENT, COMMENT = range(1000001, 1000005)
INJECTIONS = {
    "/1k?id=1%27%20OR%20%271%27%3D%271": CONDITION,
    "/1k?id=1%27+or+1%3D1--+": CONDITION,
    "/1k?page=2&id=7%20and%20sleep%285%29": CONDITION,
    "/1k?id=-1%20UNION%20SELECT%20user%2Cpassword%20FROM%20users--": UNION,
    "/1k?id=-1%20%55nion%20all%20%53elect%201%2C2": UNION,
    "/1k?id=1%3B%20DROP%20TABLE%20users--": STATEMENT,
    "/1k?user=admin%27--": COMMENT,
    "/1k?user=admin%27%23": COMMENT,
}
"""The one signature that each raises."""
ORDINARY = (
    "/1k",
    "/1k?q=cats+and+dogs",
    "/1k?q=black%20or%20white&x=1",
    "/1k?name=O%27Reilly",
    "/1k?a=1;b=2",
    "/1k?q=it%27s%20a--dash",
    "/1k?q=credit%20union%20selection",
)


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: server\r\n\r\n".encode()


def fetch(host: Host, server: str, path: str, *, timeout: float = PATIENCE_S) -> int | None:
    """One session of its own with the `server`, port 80: the client's port if it was answered."""
    return exchange(host, server, [request(path)], timeout=timeout)


def exchange(host: Host, server: str, pieces: Sequence[bytes], *, timeout: float = PATIENCE_S) -> int | None:
    """The same with what is sent in `pieces`, each a packet of its own."""
    with inside(host):
        connection = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET)
    with connection, suppress(TimeoutError):
        connection.settimeout(timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((server, 80))
        for piece in pieces:
            connection.sendall(piece)
        if connection.recv(16).startswith(b"HTTP/1.1 200"):
            return int(connection.getsockname()[1])
    return None
