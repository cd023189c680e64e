"""The controller's REST interface: thin calls of the conductor, whose errors become problem documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI
from fastapi import Path as PathParam

from catenary import wire
from catenary.config import NetworkConfig
from catenary.service import create_app
from controller.conductor import Conductor

ChainName = Annotated[wire.Name, PathParam(description="name of the chain")]

SegmentName = Annotated[wire.Name, PathParam(description="name of the segment")]


def build(conductor: Conductor, token: str | None) -> FastAPI:
    """The app; its OpenAPI page is at /docs."""
    app = create_app("Catenary controller", token)

    @app.get("/v1/health")
    def health() -> wire.ControllerHealth:
        return conductor.health()

    @app.get("/v1/topology")
    def topology() -> wire.TopologyView:
        return conductor.topology()

    @app.get("/v1/network")
    def network() -> wire.NetworkView:
        """Which network the controller steers through."""
        return conductor.network()

    @app.put("/v1/network")
    def put_network(network: NetworkConfig, check: bool = False) -> wire.NetworkView:
        """Steer through another network. What steered chains use can't change. `check`: only ask."""
        return conductor.put_network(network, check=check)

    @app.get("/v1/chains")
    def chains() -> list[wire.SteeredChain]:
        return conductor.chains()

    @app.put("/v1/chains/{name}")
    def steer(name: ChainName, request: wire.SteerRequest) -> wire.SteeredChain:
        """Steer a chain; answered when every switch has confirmed. The same call again changes nothing."""
        return conductor.steer(name, request)

    @app.post("/v1/chains/{name}/check", status_code=204)
    def check(name: ChainName, request: wire.SteerRequest) -> None:
        """Would this chain be steered? Fails as steering would, and changes nothing."""
        conductor.check(name, request)

    @app.delete("/v1/chains/{name}", status_code=204)
    def unsteer(name: ChainName) -> None:
        """Remove every rule of a chain; answered when every switch has confirmed."""
        conductor.unsteer(name)

    @app.get("/v1/chains/{name}/rules")
    def rules(name: ChainName) -> list[wire.RuleView]:
        """The rules of a chain with the switches' counters."""
        return conductor.rules(name)

    @app.get("/v1/segments")
    def segments() -> list[wire.SegmentView]:
        """Which pairs are in the way of the traffic."""
        return conductor.segments()

    @app.put("/v1/segments/{name}/inserted")
    def insert(name: SegmentName) -> wire.SegmentView:
        """Lead a segment's traffic through its pair; answered when both sides' switches confirmed."""
        return conductor.insert(name)

    return app
