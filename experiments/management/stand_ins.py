"""Stand-ins for a controller and for all load balancers of a configuration: one process, REST, no packets.

    python -m experiments.management.stand_ins CONFIG PORT

They answer as the real ones do and as fast as Python can: what is measured is the management system, not
forty daemons on the same cores. Everything they know ends with the process. Each has an address of its own in
127.0.0.0/8, as the configuration says. At the controller's, GET /held counts what all hold, and
GET /unanswered lists the calls for which no stand-in has an answer.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Host, Route, Router

from catenary import wire
from catenary.config import NetworkConfig, ServiceConfig
from catenary.problems import problem
from catenary.service import KEPT_S
from experiments.management.lives import cells, life_table

SESSIONS, NEW_SESSIONS = 20, 2000
"""Of every chain, as its master tells."""
Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]


def _unknown(request: Request, what: str) -> Response:
    return problem(404, f"unknown {what}", request.url.path)


class StandInController:
    """Steers whatever it is told to."""

    def __init__(self) -> None:
        self.chains: dict[str, Json] = {}
        self._revision = ""
        self._attached: list[str] = []

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/health", self._health),
            Route("/v1/network", self._network, methods=["GET", "PUT"]),
            Route("/v1/balancers", self._balancers),
            Route("/v1/chains", self._list),
            Route("/v1/chains", self._steer, methods=["PUT"]),
            Route("/v1/chains/{name}", self._unsteer, methods=["DELETE"]),
        ]

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok", "switches_connected": 1, "switches_expected": 1})

    async def _network(self, request: Request) -> Response:
        if request.method == "PUT":
            network = NetworkConfig.model_validate_json(await request.body())
            if request.query_params.get("check") != "true":
                self._revision, self._attached = network.revision, sorted(network.balancers)
        return JSONResponse({"revision": self._revision})

    async def _balancers(self, _request: Request) -> Response:
        link = {"outer": "up", "inner": "up", "fenced": False, "around": False}
        return JSONResponse([{"name": name, **link} for name in self._attached])

    async def _list(self, _request: Request) -> Response:
        return JSONResponse(list(self.chains.values()))

    async def _steer(self, request: Request) -> Response:
        asked: Mapping[str, Json] = (await request.json())["chains"]
        if request.query_params.get("check") == "true":
            return JSONResponse([])
        for name, chain in asked.items():
            said = {"name": name, "cookie": 1, "path": chain["nfs"], "rules": 12, "installed": True}
            self.chains[name] = chain | said
        return JSONResponse([self.chains[name] for name in asked])

    async def _unsteer(self, request: Request) -> Response:
        if self.chains.pop(request.path_params["name"], None) is None:
            return _unknown(request, "chain")
        return Response(status_code=204)


class StandInBalancer:
    """A load balancer without packets: a pair that is removed is drained after two polls.

    As a slave it knows no pair, and so says that none is active. A master has one, and tells of it.
    """

    def __init__(
        self, name: str, segment: str, config: ServiceConfig, slave: StandInBalancer | None = None
    ) -> None:
        role: wire.Role = "slave" if slave is None else "master"
        self._slave = slave
        self._common = {"role": role, "segment": segment}
        about = config.segments[segment]
        self._health_said = {
            **self._common,
            "status": "ok",
            "data_plane": "none",
            "instance": name,
            "ask_id": about.ask_id,
            "timeouts": wire.TimeoutsModel(**dict(about.timeouts)).model_dump(),
            "rewrites": about.rewrites,
            "peer": {"url": None, "connected": True},
        }
        self._life_table = life_table().model_dump()
        self._cells = [cell.model_dump() for cell in cells(SESSIONS, about.timeouts.timeouts())]
        self.pairs: dict[tuple[int, int], Json] = {}
        self._epoch = 1

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/v1/health", self._health),
            Route("/v1/stats", self._stats),
            Route("/v1/lives", self._lives),
            Route("/v1/pairs", self._pairs),
            Route("/v1/pairs/{tags}/active", self._active),
            Route("/v1/changes", self._change, methods=["POST"]),
            Route("/v1/rebalance", self._rebalance, methods=["POST"]),
        ]

    async def _health(self, _request: Request) -> Response:
        return JSONResponse(self._how())

    def _how(self) -> Json:
        return {**self._health_said, "epoch": self._epoch}

    def _chain_set(self) -> Json:
        pairs = list(self.pairs.values())
        designated = pairs[0]["slot"] if pairs else None
        segment = self._common["segment"]
        return {"segment": segment, "epoch": self._epoch, "designated": designated, "pairs": pairs}

    async def _pairs(self, _request: Request) -> Response:
        return JSONResponse(self._chain_set())

    async def _stats(self, _request: Request) -> Response:
        return JSONResponse(self._counted())

    def _counted(self) -> Json:
        traffic = dict.fromkeys(
            ("forward_packets", "forward_bytes", "reverse_packets", "reverse_bytes"), NEW_SESSIONS
        )
        shown = ("forward", "reverse", "slot", "state")
        load = {"sessions": SESSIONS, "new_sessions": NEW_SESSIONS, **traffic}
        pairs = [{**{key: pair[key] for key in shown}, **load} for pair in self.pairs.values()]
        table = {"pins": SESSIONS * len(pairs), "capacity": 1 << 20, "overflow": False, "counters": {}}
        peer = {} if self._slave is None else {"peer": self._slave._counted()}
        common = {**self._common, "health": self._how(), "epoch": self._epoch}
        return {**common, "pairs": pairs, **table, **peer}

    async def _lives(self, _request: Request) -> Response:
        lives = {"sessions": SESSIONS, "cells": self._cells}
        pairs = [{"forward": forward, "reverse": reverse, **lives} for forward, reverse in self.pairs]
        return JSONResponse({**self._life_table, "pairs": pairs})

    async def _active(self, request: Request) -> Response:
        forward, _, reverse = request.path_params["tags"].partition("-")
        pair = self.pairs.get((int(forward), int(reverse)))
        if pair is None:
            return _unknown(request, "tag pair")
        pair["state"] = {"cooling": "closed", "closed": "drained"}.get(pair["state"], pair["state"])
        tags = {"forward": pair["forward"], "reverse": pair["reverse"], "state": pair["state"]}
        return JSONResponse({**tags, "active": pair["state"] != "drained", "sessions": 0})

    async def _change(self, request: Request) -> Response:
        change = await request.json()
        for added in change["add"]:
            key = added["forward"], added["reverse"]
            slots = {pair["slot"] for pair in self.pairs.values()}
            slot = next(slot for slot in range(len(slots) + 1) if slot not in slots)
            self.pairs.setdefault(key, {**added, "slot": slot, "generation": 1})["state"] = "active"
        for state in ("remove", "cancel"):
            for tags in change[state]:
                pair = self.pairs[tags["forward"], tags["reverse"]]
                pair["state"] = "cooling" if state == "remove" else "active"
        for tags in change["forget"]:
            self.pairs.pop((tags["forward"], tags["reverse"]), None)
        self._epoch += 1
        return JSONResponse(self._chain_set())

    async def _rebalance(self, request: Request) -> Response:
        for tags in (await request.json())["weights"]:
            self.pairs[tags["forward"], tags["reverse"]]["weight"] = tags["weight"]
        self._epoch += 1
        return JSONResponse(self._chain_set())


def build(config: ServiceConfig) -> Starlette:
    """The app."""
    controller, balancers = StandInController(), dict[str, StandInBalancer]()
    for name, segment in config.segments.items():
        slave = balancers[segment.slave] = StandInBalancer(segment.slave, name, config)
        balancers[segment.master] = StandInBalancer(segment.master, name, config, slave)

    async def held(_request: Request) -> Response:
        pairs = [pair for balancer in balancers.values() for pair in balancer.pairs.values()]
        active = sum(pair["state"] == "active" for pair in pairs)
        return JSONResponse({"steered": len(controller.chains), "pairs": len(pairs), "active": active})

    strange: set[str] = set()

    async def unanswered(_request: Request) -> Response:
        return JSONResponse(sorted(strange))

    async def wonder(request: Request) -> Response:
        strange.add(f"{request.method} {request.url.path}")
        return _unknown(request, "call")

    own = [Route("/held", held), Route("/unanswered", unanswered)]
    rest = Route("/{path:path}", wonder, methods=["GET", "PUT", "POST", "DELETE"])
    parts = {config.controller_url: [*own, *controller.routes()]}
    parts |= {config.balancers[name].url: balancer.routes() for name, balancer in balancers.items()}
    hosts = [Host(urlsplit(url).hostname or "", Router([*routes, rest])) for url, routes in parts.items()]
    return Starlette(routes=hosts)


def main() -> None:
    config = ServiceConfig.load(Path(sys.argv[1]).read_text(), sys.argv[1])
    uvicorn.run(
        build(config),
        host="0.0.0.0",
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEPT_S,
    )


if __name__ == "__main__":
    main()
