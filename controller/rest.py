"""The controller's REST interface: thin calls of the conductor, whose errors become problem documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParam

from catenary import wire
from catenary.callers import Callers
from catenary.chain import NAME
from catenary.config import NetworkConfig
from catenary.errors import Conflict, NotFound, Unavailable
from catenary.explanations import ChainHops
from catenary.exposition import add_metrics_route
from catenary.pages import LINK, After, Limit, page
from catenary.problems import problems
from catenary.roles import Role
from catenary.service import create_app
from controller import metrics
from controller.conductor import Conductor

TAGS = {
    "status": "Is it well, and what does it see?",
    "chains": "Tag pairs, steered through network functions.",
    "network": "What the controller steers through.",
    "segments": "Whether a pair of load balancers is in the way of the traffic.",
    "balancers": "Load balancers as their switches see them, and what cuts one off.",
}
ROLES = {
    "health": Role.VIEWER,
    "topology": Role.VIEWER,
    "show_network": Role.VIEWER,
    "list_segments": Role.VIEWER,
    "list_chains": Role.VIEWER,
    "list_rules": Role.VIEWER,
    "list_hops": Role.VIEWER,
    "check_chain": Role.VIEWER,
    "steer_chain": Role.OPERATOR,
    "steer_chains": Role.OPERATOR,
    "unsteer_chain": Role.OPERATOR,
    "insert_pair": Role.OPERATOR,
    "lead_around": Role.OPERATOR,
    "lead_through": Role.OPERATOR,
    "list_balancers": Role.VIEWER,
    "place_balancer": Role.OPERATOR,
    "fence_balancer": Role.OPERATOR,
    "unfence_balancer": Role.OPERATOR,
    "put_network": Role.ADMIN,
}
ChainName = Annotated[wire.Name, PathParam(description="name of the chain")]
SegmentName = Annotated[wire.Name, PathParam(description="name of the segment")]
BalancerName = Annotated[wire.Name, PathParam(description="name of the load balancer")]
Check = Annotated[bool, Query(description="only ask whether that could be")]
_NAME = re.compile(NAME)
_LISTED: dict[int | str, dict[str, Any]] = {200: {"headers": LINK}}
_CHANGES = problems(NotFound, Conflict, Unavailable)


def build(conductor: Conductor, callers: Callers | None) -> FastAPI:
    """The app; its OpenAPI page is at /docs."""
    app = create_app("Catenary controller", callers, ROLES, tags=TAGS)
    _add_others(app, conductor)
    _add_detours(app, conductor)
    _add_chains(app, conductor)
    add_metrics_route(
        app, lambda: metrics.samples(conductor.health(), conductor.topology(), conductor.chains())
    )
    return app


def _add_others(app: FastAPI, conductor: Conductor) -> None:
    @app.get("/v1/health", tags=["status"])
    def health() -> wire.ControllerHealth:
        """How many switches are connected."""
        return conductor.health()

    @app.get("/v1/topology", tags=["status"], responses=problems(Unavailable))
    def topology() -> wire.TopologyView:
        """Switches, links as discovered, and what is attached where."""
        return conductor.topology()

    @app.get("/v1/network", tags=["network"])
    def show_network() -> wire.NetworkView:
        """Which network the controller steers through."""
        return conductor.network()

    @app.put("/v1/network", tags=["network"], responses=problems(Conflict))
    def put_network(network: NetworkConfig, check: Check = False) -> wire.NetworkView:
        """Steer through another network.

        What steered chains use can't change.
        """
        return conductor.put_network(network, check=check)

    @app.get("/v1/segments", tags=["segments"], responses=_LISTED)
    def list_segments(
        request: Request, response: Response, limit: Limit = None, after: After = None
    ) -> Sequence[wire.SegmentView]:
        """Which pairs are in the way of the traffic, and since when, by name."""
        segments = conductor.segments()
        return page(request, response, segments, lambda it: it.name, limit, after, form=_NAME)

    @app.put("/v1/segments/{name}/inserted", tags=["segments"], responses=_CHANGES)
    def insert_pair(name: SegmentName) -> wire.SegmentView:
        """Lead a segment's traffic through its pair.

        The pair must know the segment's chain before. Answered when the switches of both sides have
        confirmed.
        """
        return conductor.insert(name)


def _add_detours(app: FastAPI, conductor: Conductor) -> None:
    @app.put("/v1/segments/{name}/around", tags=["segments"], responses=_CHANGES)
    def lead_around(name: SegmentName) -> wire.SegmentView:
        """Lead traffic around a segment, past both of its load balancers.

        Fixed NFs are crossed as ever. Answered when every switch has confirmed; stays until it is undone.
        """
        conductor.detours.around(name)
        return conductor.segment(name)

    @app.delete("/v1/segments/{name}/around", tags=["segments"], responses=_CHANGES)
    def lead_through(name: SegmentName) -> wire.SegmentView:
        """Lead traffic through a segment's pair again."""
        conductor.detours.through(name)
        return conductor.segment(name)

    @app.get("/v1/balancers", tags=["balancers"], responses=_LISTED)
    def list_balancers(
        request: Request, response: Response, limit: Limit = None, after: After = None
    ) -> Sequence[wire.AttachedBalancer]:
        """Links and fences of all load balancers, by name."""
        found = conductor.detours.balancers()
        return page(request, response, found, lambda it: it.name, limit, after, form=_NAME)

    @app.put("/v1/balancers/{name}/place/{place}", tags=["balancers"], responses=_CHANGES)
    def place_balancer(name: BalancerName, place: wire.Place) -> wire.AttachedBalancer:
        """Lead what is a load balancer's to its standby, or back to where the network has it.

        The place that it leaves is cut off in the same change: all that comes from there is dropped, and
        nothing is sent there. A fence of the one that it leaves goes with it. Answered when the switch has
        confirmed.
        """
        return conductor.detours.place(name, place)

    @app.put("/v1/balancers/{name}/fence", tags=["balancers"], responses=_CHANGES)
    def fence_balancer(name: BalancerName) -> wire.AttachedBalancer:
        """Drop all that comes from a load balancer's ports, and all that would go there.

        Answered when its switch has confirmed; stays until it is undone.
        """
        return conductor.detours.fence(name)

    @app.delete("/v1/balancers/{name}/fence", tags=["balancers"], responses=_CHANGES)
    def unfence_balancer(name: BalancerName) -> wire.AttachedBalancer:
        """Let a load balancer take part again."""
        return conductor.detours.unfence(name)


def _add_chains(app: FastAPI, conductor: Conductor) -> None:
    @app.get("/v1/chains", tags=["chains"], responses=_LISTED)
    def list_chains(
        request: Request, response: Response, limit: Limit = None, after: After = None
    ) -> Sequence[wire.SteeredChain]:
        """All steered chains with their paths, by name."""
        return page(request, response, conductor.chains(), lambda it: it.name, limit, after, form=_NAME)

    @app.put("/v1/chains", tags=["chains"], responses=_CHANGES)
    def steer_chains(requests: wire.SteerRequests, check: Check = False) -> list[wire.SteeredChain]:
        """Steer several chains, all of them or none.

        Answered when every switch has confirmed. The same call again changes nothing.
        """
        if not check:
            return conductor.steer_all(requests.chains)
        conductor.check_all(requests.chains)
        return []

    @app.put("/v1/chains/{name}", tags=["chains"], responses=_CHANGES)
    def steer_chain(name: ChainName, request: wire.SteerRequest) -> wire.SteeredChain:
        """Steer a chain.

        Answered when every switch has confirmed. The same call again changes nothing.
        """
        return conductor.steer(name, request)

    @app.post("/v1/chains/{name}/check", status_code=204, tags=["chains"], responses=_CHANGES)
    def check_chain(name: ChainName, request: wire.SteerRequest) -> None:
        """Would this chain be steered?

        Fails as steering would, and changes nothing.
        """
        conductor.check_all({name: request})

    @app.delete("/v1/chains/{name}", status_code=204, tags=["chains"], responses=_CHANGES)
    def unsteer_chain(name: ChainName) -> None:
        """Remove every rule of a chain.

        Answered when every switch has confirmed.
        """
        conductor.unsteer(name)

    @app.get("/v1/chains/{name}/rules", tags=["chains"], responses=problems(NotFound, Unavailable))
    def list_rules(name: ChainName) -> list[wire.RuleView]:
        """The rules of a chain with the switches' counters."""
        return conductor.rules(name)

    @app.get("/v1/chains/{name}/hops", tags=["chains"], responses=problems(NotFound, Unavailable))
    def list_hops(name: ChainName) -> ChainHops:
        """The way of a chain's frames, rule by rule, in both directions.

        With the switches' counters.
        """
        return conductor.hops(name)
