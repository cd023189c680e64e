"""The REST service of the management system: a thin shell over `Manager` and `StatusPage`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response

from catenary import wire
from catenary.callers import Callers
from catenary.errors import Conflict, NotFound, Unavailable
from catenary.exposition import add_metrics_route
from catenary.pages import LINK, After, Limit, link, page
from catenary.problems import problems
from catenary.roles import Caller
from catenary.service import create_app
from catenary.wire import SegmentSession
from mgmt_system import metrics
from mgmt_system.backup_rest import add_backup_route
from mgmt_system.calls import (
    ACCEPTED,
    CHANGES,
    ETAG,
    PLACE,
    By,
    IfMatch,
    lead_changes,
    listed,
    place,
    ready,
    tag,
    written,
)
from mgmt_system.capture_rest import add_capture_route
from mgmt_system.config_rest import add_config_routes
from mgmt_system.explain_rest import add_explain_route
from mgmt_system.history import Filter
from mgmt_system.manager import Manager
from mgmt_system.roles import ROLES
from mgmt_system.scale_rest import add_scale_routes
from mgmt_system.service import Running
from mgmt_system.session_rest import add_session_list
from mgmt_system.store.snapshot import Stored
from mgmt_system.traffic_rest import add_traffic_routes
from mgmt_system.views import entry_view, show_past

TAGS = {
    "configuration": "All of it as one document: read, plan, apply.",
    "services": "Segments in a row, and the traffic that crosses them.",
    "chains": "Copies of the sequence of network functions: add, cordon and remove them under traffic.",
    "autoscale": "Segments that scale by themselves: what is decided, and why.",
    "operations": "Calls that take time: they answer 202 and are polled.",
    "segments": "Pairs of load balancers and the chains between them.",
    "sessions": "Single sessions: which chain carries one, and orders to end it.",
    "history": "The journal: who changed what, when and why.",
    "store": "All that the management system has written down, as a file.",
    "status": "Is all well, and what do the chains carry?",
}
Seconds = Annotated[
    float | None, Query(ge=0, le=1e7, description="seconds until what is left is ended, as `then` says")
]
Then = Annotated[wire.Then | None, Query(description="what becomes of it: goes with `deadline`")]
Moment = Annotated[float | None, Query(ge=0, lt=253402300800, allow_inf_nan=False)]
"""Seconds since the epoch, up to the year 9999."""
Force = Annotated[bool, Query(description="even if no chain is left that takes sessions")]
ChainName = Annotated[wire.Name, Path(description="name of the chain")]
SegmentName = Annotated[wire.Name | None, Query(description="needed if there are several")]
_SHOWN: dict[int | str, dict[str, Any]] = {200: {"headers": ETAG}, **problems(NotFound)}
_LISTED: dict[int | str, dict[str, Any]] = {200: {"headers": ETAG | LINK}}
_TOLD: dict[int | str, dict[str, Any]] = {200: {"headers": LINK}, **problems(Unavailable)}
_ASKED = problems(NotFound, Conflict, Unavailable)


def create(running: Running, callers: Callers | None) -> FastAPI:
    """The app; the engine runs from its start-up to its shutdown."""
    app = create_app("Catenary management system", callers, ROLES, tags=TAGS, lifespan=_lifespan(running))
    lead_changes(app, running.ledger)
    _add_reading_routes(app, running)
    _add_status_routes(app, running)
    _add_chain_routes(app, running.manager)
    _add_other_changes(app, running)
    add_config_routes(app, running.applying)
    add_scale_routes(app, running.scaling, running.applying, running.manager, running.ledger)
    add_traffic_routes(app, running.sampling)
    add_capture_route(app, running.captures)
    add_explain_route(app, running.explainer)
    add_backup_route(app, running.ledger)
    add_metrics_route(
        app,
        lambda: metrics.samples(
            running.manager.health(),
            running.look(),
            running.manager.operations(),
            running.scaling.views(),
        ),
    )
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
    """What is told from memory at once is `async`: it needs no thread, and waits for none."""
    manager, history = running.manager, running.history

    @app.get(
        "/v1/chains",
        tags=["chains"],
        response_model=list[wire.ChainView],
        responses=_LISTED | problems(NotFound, Unavailable),
    )
    def list_chains(
        request: Request,
        response: Response,
        at: Moment = None,
        limit: Limit = None,
        after: After = None,
    ) -> Response:
        """All chains that are not removed, oldest first.

        Those of the moment `at`, if it is given.
        """
        if at is None:
            tag(response, manager.chains_revision())
            chains, shown = manager.present(), manager.shown
        else:
            chains, shown = [Stored(record, 0) for record in history.chains(at)], show_past
        paged = page(
            request,
            response,
            chains,
            lambda it: place(it.record.created, it.record.name),
            limit,
            after,
            form=PLACE,
        )
        return listed([shown(it).json for it in paged], response)

    @app.get("/v1/chains/{name}", tags=["chains"], response_model=wire.ChainView, responses=_SHOWN)
    async def show_chain(name: ChainName, response: Response) -> Response:
        """The latest chain of this name, a removed one too."""
        stored = manager.stored_chain(name)
        tag(response, stored.revision)
        return ready(manager.shown(stored).json, response)

    @app.get("/v1/operations", tags=["operations"], responses=_LISTED)
    def list_operations(
        request: Request, response: Response, limit: Limit = None, after: After = None
    ) -> Sequence[wire.OperationView]:
        """All operations, oldest first.

        Long finished ones are forgotten.
        """
        tag(response, manager.operations_revision())
        operations = manager.operations()
        return page(
            request, response, operations, lambda it: place(it.created, it.id), limit, after, form=PLACE
        )

    @app.get("/v1/operations/{operation_id}", tags=["operations"], responses=_SHOWN)
    async def show_operation(operation_id: str, response: Response) -> wire.OperationView:
        """Is it `running`, has it `succeeded` or `failed`, and why?"""
        stored = manager.stored_operation(operation_id)
        tag(response, stored.revision)
        return manager.operation_view(stored.record)

    @app.get("/v1/history", tags=["history"], response_model=list[wire.HistoryEntry], responses=_TOLD)
    def read_history(
        request: Request,
        response: Response,
        since: Moment = None,
        until: Moment = None,
        chain: wire.Name | None = None,
        segment: wire.Name | None = None,
        kind: wire.HistoryKind | None = None,
        who: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10000)] = 1000,
        after: Annotated[int, Query(ge=0, le=10**15, description="A number: later entries only.")] = 0,
        last: Annotated[
            int | None, Query(ge=1, le=10000, description="The last so many, instead of pages.")
        ] = None,
    ) -> Response:
        """What happened, oldest first: who changed what, when, why and from where.

        There may be more if there is a Link to the next page.
        """
        wanted = Filter(since, until, chain, segment, kind, who)
        if last is not None:
            entries = history.last(wanted, last)
        else:
            entries = history.entries(wanted, after, limit)
            if len(entries) == limit:
                link(request, response, str(entries[-1].seq))
        return listed([entry_view(entry).model_dump_json().encode() for entry in entries], response)

    @app.get("/v1/session", tags=["sessions"], responses=_ASKED)
    def show_session(key: wire.SessionText, segment: SegmentName = None) -> SegmentSession:
        """Show one session: the chain that carries it, how it got that, and what it carried.

        Of a key that has none, the last that ended.
        """
        return running.sessions.show(key, segment)

    add_session_list(app, running.sessions)


def _add_status_routes(app: FastAPI, running: Running) -> None:
    @app.get("/v1/status", tags=["status"], response_model=wire.StatusView)
    def status() -> Response:
        """All parts, and all chains with their load; the store is a part while it can't be written.

        Answered within two seconds, whatever is down.
        """
        return written(running.look())

    @app.get("/v1/caller", tags=["status"])
    def show_caller(request: Request) -> wire.CallerView:
        """Who are you here, and what may you do?

        Without tokens everyone may do all.
        """
        caller: Caller = request.state.caller
        return wire.CallerView(name=caller.name, role=caller.role)

    @app.get("/v1/health", tags=["status"])
    async def health() -> wire.ManagementHealth:
        """Is all well? `degraded` while another part can't be used, or the store can't be written."""
        return running.manager.health()


def _add_chain_routes(app: FastAPI, manager: Manager) -> None:
    def accepted(operation: wire.OperationView, response: Response) -> wire.OperationView:
        response.headers["Location"] = f"/v1/operations/{operation.id}"
        return operation

    @app.post("/v1/chains", status_code=202, tags=["chains"], responses=ACCEPTED)
    def add_chain(
        request: wire.ChainRequest, response: Response, author: By, match: IfMatch
    ) -> wire.OperationView:
        """Ask for a chain: a new copy of the NF sequence.

        It takes sessions when the operation at `Location` has succeeded.
        """
        return accepted(manager.add(request, author=author, match=match), response)

    @app.delete("/v1/chains/{name}", status_code=202, tags=["chains"], responses=ACCEPTED)
    def remove_chain(
        name: ChainName,
        response: Response,
        author: By,
        match: IfMatch,
        force: Force = False,
        deadline: Seconds = None,
        then: Then = None,
    ) -> wire.OperationView:
        """Remove a chain: it gets no new session, and goes when its last one has ended.

        `deadline` seconds after the last new one what is left is reset or rebalanced, as `then` says. A
        removal under way may be given one, too.
        """
        operation = manager.remove(
            name, force=force, deadline=deadline, then=then, author=author, match=match
        )
        return accepted(operation, response)

    @app.post("/v1/chains/{name}/cancel", status_code=202, tags=["chains"], responses=ACCEPTED)
    def cancel_removal(name: ChainName, response: Response, author: By, match: IfMatch) -> wire.OperationView:
        """Take a chain back that is being removed, as long as it cools down.

        It takes new sessions again. The operation fails if its pair is closed by then.
        """
        return accepted(manager.cancel(name, author=author, match=match), response)

    @app.post("/v1/chains/{name}/cordon", tags=["chains"], responses=CHANGES)
    def cordon_chain(name: ChainName, author: By, match: IfMatch, force: Force = False) -> wire.ChainView:
        """Give a chain no new session.

        Its live ones stay, and so does the chain.
        """
        return manager.cordon(name, force=force, author=author, match=match)

    @app.post("/v1/chains/{name}/uncordon", tags=["chains"], responses=CHANGES)
    def uncordon_chain(name: ChainName, author: By, match: IfMatch) -> wire.ChainView:
        """Give a cordoned chain its weight back."""
        return manager.uncordon(name, author=author, match=match)

    @app.post("/v1/rebalance", tags=["chains"], responses=CHANGES)
    def rebalance(
        request: wire.Rebalance, author: By, match: IfMatch, segment: SegmentName = None
    ) -> wire.Rebalanced:
        """Spread new sessions afresh, with new weights if any are given.

        Live sessions stay where they are, but for those without a packet for `move_idle` seconds.
        """
        return manager.rebalance(request, segment, author=author, match=match)


def _add_other_changes(app: FastAPI, running: Running) -> None:
    @app.post("/v1/segments/{name}/insert", tags=["segments"], responses=CHANGES)
    def insert_pair(
        name: Annotated[wire.Name, Path(description="name of the segment")], author: By, match: IfMatch
    ) -> wire.SegmentView:
        """Put a segment's pair around the chain that carries its traffic.

        Live sessions stay there. `If-Match` takes the ETag of that chain.
        """
        return running.manager.insert(name, author=author, match=match)

    @app.post("/v1/sessions/end", tags=["sessions"], responses=CHANGES)
    def end_session(request: wire.SessionRequest, author: By) -> wire.SessionStatus:
        """Reset a TCP connection, or move a session to another chain.

        Both ends of a connection get a RST, each at its next packet. A conflict if it is no TCP connection,
        or if there is no other chain.
        """
        return running.sessions.end(request, author=author)
