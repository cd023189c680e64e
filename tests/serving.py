"""An app served by a real uvicorn on a port of its own, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from catenary.listen import Listen
from catenary.service import server


@contextmanager
def serving(app: FastAPI, *, lifespan: bool = True) -> Iterator[str]:
    """Its URL; stopped at the end. Without its `lifespan` a management system's engine does not run."""
    uvicorn_server = server(app, Listen(port=0))
    uvicorn_server.config.lifespan = "auto" if lifespan else "off"
    thread = threading.Thread(target=uvicorn_server.run)
    thread.start()
    while not uvicorn_server.started:
        thread.join(0.005)
        assert thread.is_alive(), "the server did not start"
    try:
        yield f"http://127.0.0.1:{uvicorn_server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        uvicorn_server.should_exit = True
        thread.join()
