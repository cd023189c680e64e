"""Apps as their callers find them: in this process, or served by a real uvicorn on a port of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from catenary.callers import Callers
from catenary.listen import Listen
from catenary.roles import Caller, Role
from catenary.service import server

LOOPBACK = Listen(port=0)
TOKEN = "0123456789abcdef"


def knowing(token: str = TOKEN, role: Role = Role.ADMIN) -> Callers:
    """Who calls with `token` has that role."""
    return Callers.of({token: Caller("test", role)})


def calling(app: FastAPI, **options: Any) -> TestClient:
    """Its client, which calls it by an address: no service without a token answers to names."""
    return TestClient(app, base_url="http://127.0.0.1", **options)


def pages(client: TestClient, path: str) -> list[list[Any]]:
    """A list, following the links from page to page."""
    found = []
    while True:
        answer = client.get(path)
        found.append(answer.json())
        if "next" not in answer.links:
            return found
        path = answer.links["next"]["url"]


@contextmanager
def serving(app: FastAPI, *, lifespan: bool = True, listen: Listen = LOOPBACK) -> Iterator[str]:
    """Its URL; stopped at the end. Without its `lifespan` a management system's engine does not run."""
    uvicorn_server = server(app, listen)
    uvicorn_server.config.lifespan = "auto" if lifespan else "off"
    thread = threading.Thread(target=uvicorn_server.run)
    thread.start()
    while not uvicorn_server.started:
        thread.join(0.005)
        assert thread.is_alive(), "the server did not start"
    try:
        port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
        yield replace(listen, port=port).url
    finally:
        uvicorn_server.should_exit = True
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
