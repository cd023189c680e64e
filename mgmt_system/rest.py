"""The REST service of the management system: a thin shell over `Manager` and `StatusPage`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from catenary import wire
from catenary.service import create_app
from mgmt_system.calls import After, By, IfMatch, Limit, link, page, place, tag
from mgmt_system.config_rest import add_config_routes
from mgmt_system.history import Filter
from mgmt_system.manager import Manager
from mgmt_system.service import Running
from mgmt_system.views import ChainViews, entry_view

Seconds = Annotated[float, Query(ge=0, le=1e7)]
Moment = Annotated[float, Query(ge=0, lt=253402300800, allow_inf_nan=False)]
"""Seconds since the epoch, up to the year 9999."""


def create(running: Running, token: str | None) -> FastAPI:
    """The app; the engine runs from its start-up to its shutdown."""
    app = create_app("Catenary management system", token, _lifespan(running))
    _add_reading_routes(app, running)
    _add_chain_routes(app, running.manager)
    _add_other_changes(app, running)
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


def _add_reading_routes(app: FastAPI, running: Running) -> None:
    manager, history = running.manager, running.history

    @app.get("/v1/chains", tags=["chains"], response_model=list[wire.ChainView])
    def list_chains(
        request: Request,
        response: Response,
        at: Moment | None = None,
        limit: Limit = None,
        after: After = None,
    ) -> Response:
        """All chains that are not removed, oldest first; those of the moment `at`, if it is given."""
        if at is not None:
            chains = ChainViews().show(history.chains(at), lambda record: record.failure)
        else:
            tag(response, manager.chains_revision())
            chains = manager.shown()
        paged = page(request, response, chains, lambda it: place(it.view.created, it.view.name), limit, after)
        body = b"[" + b",".join(item.json for item in paged) + b"]"
        return Response(body, headers=dict(response.headers), media_type="application/json")

    @app.get("/v1/chains/{name}", tags=["chains"])
    def show_chain(name: str, response: Response) -> wire.ChainView:
        """The latest chain of this name, a removed one too."""
        stored = manager.stored_chain(name)
        tag(response, stored.revision)
        return manager.view(stored.record)

    @app.get("/v1/operations", tags=["operations"])
    def list_operations(
        request: Request, response: Response, limit: Limit = None, after: After = None
    ) -> Sequence[wire.OperationView]:
        """All operations, oldest first; long finished ones are forgotten."""
        tag(response, manager.operations_revision())
        operations = manager.operations()
        return page(request, response, operations, lambda it: place(it.created, it.id), limit, after)

    @app.get("/v1/operations/{operation_id}", tags=["operations"])
    def show_operation(operation_id: str, response: Response) -> wire.OperationView:
        stored = manager.stored_operation(operation_id)
        tag(response, stored.revision)
        return manager.operation_view(stored.record)

    @app.get("/v1/history", tags=["history"])
    def read_history(
        request: Request,
        response: Response,
        since: Moment | None = None,
        until: Moment | None = None,
        chain: wire.Name | None = None,
        segment: wire.Name | None = None,
        kind: wire.HistoryKind | None = None,
        who: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10000)] = 1000,
        after: Annotated[int, Query(ge=0, le=10**15, description="A number: later entries only.")] = 0,
    ) -> list[wire.HistoryEntry]:
        """What happened, oldest first: who changed what, when, why and from where.

        Moments are seconds since the epoch. There may be more if there is a Link to the next page.
        """
        entries = history.entries(Filter(since, until, chain, segment, kind, who), after, limit)
        if len(entries) == limit:
            link(request, response, str(entries[-1].seq))
        return [entry_view(entry) for entry in entries]

    @app.get("/v1/status", tags=["status"])
    def status() -> wire.StatusView:
        """All parts and all chains with their load, within two seconds whatever is down."""
        return running.status.gather(manager.chains())

    @app.get("/v1/session", tags=["sessions"])
    def session(key: wire.SessionText, segment: str | None = None) -> wire.SessionStatus:
        """One session (`tcp 10.0.0.1:4000 10.0.0.2:80`) and the chain that carries it."""
        return running.sessions.show(key, segment)

    @app.get("/v1/health", tags=["status"])
    def health() -> wire.ManagementHealth:
        """`degraded` while another part can't be used, or the store can't be written."""
        return manager.health()


def _add_chain_routes(app: FastAPI, manager: Manager) -> None:
    def accepted(operation: wire.OperationView, response: Response) -> wire.OperationView:
        response.headers["Location"] = f"/v1/operations/{operation.id}"
        return operation

    @app.post("/v1/chains", status_code=202, tags=["chains"])
    def add_chain(
        request: wire.ChainRequest, response: Response, author: By, match: IfMatch
    ) -> wire.OperationView:
        """Ask for a chain: a new copy of the NF sequence. Poll the operation at `Location`."""
        return accepted(manager.add(request, author=author, match=match), response)

    @app.delete("/v1/chains/{name}", status_code=202, tags=["chains"])
    def remove_chain(
        name: str,
        response: Response,
        author: By,
        match: IfMatch,
        force: bool = False,
        deadline: Seconds | None = None,
        then: wire.Then | None = None,
    ) -> wire.OperationView:
        """Remove a chain: it gets no new session, and goes when its last one has ended.

        After `deadline` seconds what is left is reset or rebalanced, as `then` says. A removal under way
        may be given one, too.
        """
        operation = manager.remove(
            name, force=force, deadline=deadline, then=then, author=author, match=match
        )
        return accepted(operation, response)

    @app.post("/v1/chains/{name}/cancel", status_code=202, tags=["chains"])
    def cancel_removal(name: str, response: Response, author: By, match: IfMatch) -> wire.OperationView:
        """Take a chain back that is being removed, as long as it cools down: it takes new sessions again."""
        return accepted(manager.cancel(name, author=author, match=match), response)

    @app.post("/v1/chains/{name}/cordon", tags=["chains"])
    def cordon_chain(name: str, author: By, match: IfMatch, force: bool = False) -> wire.ChainView:
        """Give a chain no new session; its live ones stay, and so does the chain."""
        return manager.cordon(name, force=force, author=author, match=match)

    @app.post("/v1/chains/{name}/uncordon", tags=["chains"])
    def uncordon_chain(name: str, author: By, match: IfMatch) -> wire.ChainView:
        """Give a cordoned chain its weight back."""
        return manager.uncordon(name, author=author, match=match)

    @app.post("/v1/rebalance", tags=["chains"])
    def rebalance(
        request: wire.Rebalance, author: By, match: IfMatch, segment: str | None = None
    ) -> wire.Rebalanced:
        """Spread new sessions afresh, with new weights if any are given.

        Live sessions stay where they are, but for those without a packet for `move_idle` seconds.
        """
        return manager.rebalance(request, segment, author=author, match=match)


def _add_other_changes(app: FastAPI, running: Running) -> None:
    @app.post("/v1/segments/{name}/insert", tags=["segments"])
    def insert(name: str, author: By) -> wire.SegmentView:
        """Put a segment's pair around the chain that carries its traffic; live sessions stay there."""
        return running.manager.insert(name, author=author)

    @app.post("/v1/sessions/end", tags=["sessions"])
    def end_session(request: wire.SessionRequest, author: By) -> wire.SessionStatus:
        """Reset a TCP connection (both ends get a RST, each at its next packet), or move a session."""
        return running.sessions.end(request, author=author)
