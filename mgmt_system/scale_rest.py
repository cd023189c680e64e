"""The REST calls for autoscalers and canaries."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import FastAPI, Path, Response

from catenary import wire
from catenary.autoscale import ModeRequest, ScaleView
from catenary.errors import NotFound, PreconditionFailed, Unavailable
from mgmt_system import canaries
from mgmt_system.applying import Applying, Condition, Options
from mgmt_system.calls import ACCEPTED, CHANGES, LEAD, By, IfMatch
from mgmt_system.etags import etag
from mgmt_system.manager import ATTEMPTS, Manager
from mgmt_system.records import Author
from mgmt_system.scaling import Scaling
from mgmt_system.store import NotLeader
from mgmt_system.store.ledger import Ledger

SegmentName = Annotated[wire.Name, Path(description="name of the segment")]
ChainName = Annotated[wire.Name, Path(description="name of the chain")]
_SET = ACCEPTED | {204: {"description": "It is so already"}}


def add_scale_routes(
    app: FastAPI, scaling: Scaling, applying: Applying, manager: Manager, ledger: Ledger
) -> None:
    @app.get("/v1/autoscale", tags=["autoscale"], responses=LEAD)
    async def list_autoscalers() -> list[ScaleView]:
        """Each autoscaler with its last decision, the figures behind that, and its copies of the NFs.

        Only the leader of several management systems knows.
        """
        if not ledger.leads and ledger.standing.leader is not None:
            raise NotLeader.told(ledger.standing, ledger.where)
        return scaling.views()

    @app.put("/v1/autoscale/{name}/mode", status_code=202, tags=["autoscale"], responses=_SET)
    def set_autoscale_mode(
        name: SegmentName, request: ModeRequest, response: Response, by: By
    ) -> wire.OperationView:
        """Have an autoscaler act, only tell what it would do, or rest.

        It changes the configuration in force: so it lasts, and a document that is applied later says anew.
        """
        operation = _put_mode(applying, name, request, by)
        if operation is None:
            return Response(status_code=204)  # type: ignore[return-value]
        response.headers["Location"] = f"/v1/operations/{operation.id}"
        return operation

    @app.post("/v1/chains/{name}/promote", tags=["chains"], responses=CHANGES)
    def promote_canary(name: ChainName, author: By, match: IfMatch) -> wire.ChainView:
        """Make a canary a chain like the others, with their weight."""
        return manager.reweigh("promote", name, partial(canaries.promoted, name), author, match)


def _put_mode(
    applying: Applying, segment: str, request: ModeRequest, by: Author
) -> wire.OperationView | None:
    for _ in range(ATTEMPTS):
        view = applying.view()
        known = view.config.autoscale
        if segment not in known:
            raise NotFound(f"segment {segment!r} has no autoscaler: there is {', '.join(known) or 'none'}")
        after = known[segment].model_copy(update={"mode": request.mode})
        wanted = view.config.model_copy(update={"autoscale": known | {segment: after}})
        try:
            return applying.apply(wanted, Options(), Condition(match=frozenset([etag(view.revision)])), by)
        except PreconditionFailed:  # another one was applied just now
            continue
    raise Unavailable("too many requests at once: try again")
