"""The REST service of the management system: a thin shell over `Manager` and `StatusPage`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response

from catenary import wire
from catenary.service import create_app
from mgmt_system.config_rest import add_config_routes
from mgmt_system.manager import Manager
from mgmt_system.service import Running

Seconds = Annotated[float, Query(ge=0, le=1e7)]


def create(running: Running, token: str | None) -> FastAPI:
    """The app; the engine runs from its start-up to its shutdown."""
    app = create_app("Catenary management system", token, _lifespan(running))
    _add_chain_routes(app, running.manager)
    _add_other_routes(app, running)
    add_config_routes(app, running.applying)
    return app


def _lifespan(running: Running) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        running.start()
        try:
            yield
        finally:
            running.stop()

    return lifespan


def _add_chain_routes(app: FastAPI, manager: Manager) -> None:
    def accepted(operation: wire.OperationView, response: Response) -> wire.OperationView:
        response.headers["Location"] = f"/v1/operations/{operation.id}"
        return operation

    @app.post("/v1/chains", status_code=202, tags=["chains"])
    def add_chain(request: wire.ChainRequest, response: Response) -> wire.OperationView:
        """Ask for a chain: a new copy of the NF sequence. Poll the operation at `Location`."""
        return accepted(manager.add(request), response)

    @app.get("/v1/chains", tags=["chains"])
    def list_chains() -> list[wire.ChainView]:
        """All chains that are not removed, oldest first."""
        return manager.chains()

    @app.get("/v1/chains/{name}", tags=["chains"])
    def show_chain(name: str) -> wire.ChainView:
        """The latest chain of this name, a removed one too."""
        return manager.chain(name)

    @app.delete("/v1/chains/{name}", status_code=202, tags=["chains"])
    def remove_chain(
        name: str,
        response: Response,
        force: bool = False,
        deadline: Seconds | None = None,
        then: wire.Then | None = None,
    ) -> wire.OperationView:
        """Remove a chain: it gets no new session, and goes when its last one has ended.

        After `deadline` seconds what is left is reset or rebalanced, as `then` says. A removal under way
        may be given one, too.
        """
        return accepted(manager.remove(name, force=force, deadline=deadline, then=then), response)

    @app.post("/v1/chains/{name}/cancel", status_code=202, tags=["chains"])
    def cancel_removal(name: str, response: Response) -> wire.OperationView:
        """Take a chain back that is being removed, as long as it cools down: it takes new sessions again."""
        return accepted(manager.cancel(name), response)

    @app.post("/v1/chains/{name}/cordon", tags=["chains"])
    def cordon_chain(name: str, force: bool = False) -> wire.ChainView:
        """Give a chain no new session; its live ones stay, and so does the chain."""
        return manager.cordon(name, force=force)

    @app.post("/v1/chains/{name}/uncordon", tags=["chains"])
    def uncordon_chain(name: str) -> wire.ChainView:
        """Give a cordoned chain its weight back."""
        return manager.uncordon(name)


def _add_other_routes(app: FastAPI, running: Running) -> None:
    manager = running.manager

    @app.get("/v1/operations", tags=["operations"])
    def list_operations() -> list[wire.OperationView]:
        """All operations, oldest first; long finished ones are forgotten."""
        return manager.operations()

    @app.get("/v1/operations/{operation_id}", tags=["operations"])
    def show_operation(operation_id: str) -> wire.OperationView:
        return manager.operation(operation_id)

    @app.get("/v1/status", tags=["status"])
    def status() -> wire.StatusView:
        """All parts and all chains with their load, within two seconds whatever is down."""
        return running.status.gather(manager.chains())

    @app.post("/v1/rebalance", tags=["chains"])
    def rebalance(request: wire.Rebalance, segment: str | None = None) -> wire.Rebalanced:
        """Spread new sessions afresh, with new weights if any are given.

        Live sessions stay where they are, but for those without a packet for `move_idle` seconds.
        """
        return manager.rebalance(request, segment)

    @app.post("/v1/segments/{name}/insert", tags=["segments"])
    def insert(name: str) -> wire.SegmentView:
        """Put a segment's pair around the chain that carries its traffic; live sessions stay there."""
        return manager.insert(name)

    @app.get("/v1/session", tags=["sessions"])
    def session(key: wire.SessionText, segment: str | None = None) -> wire.SessionStatus:
        """One session (`tcp 10.0.0.1:4000 10.0.0.2:80`) and the chain that carries it."""
        return running.sessions.show(key, segment)

    @app.post("/v1/sessions/end", tags=["sessions"])
    def end_session(request: wire.SessionRequest) -> wire.SessionStatus:
        """Reset a TCP connection (both ends get a RST, each at its next packet), or move a session."""
        return running.sessions.end(request)

    @app.get("/v1/health", tags=["status"])
    def health() -> wire.ManagementHealth:
        """`degraded` while another part can't be used."""
        return manager.health()
