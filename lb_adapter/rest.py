"""The REST service of a load balancer. Which calls exist depends on the role."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from catenary import wire
from catenary.service import create_app
from catenary.tags import TagPair
from lb_adapter.master import Master
from lb_adapter.slave import Slave


def build(daemon: Master | Slave, token: str | None) -> FastAPI:
    """The app of `daemon`; every call needs `token` if there is one."""
    app = create_app("Catenary load balancer", token)

    @app.get("/v1/health")
    def health() -> wire.BalancerHealth:
        """Is it up, and does it know its peer?"""
        return daemon.health()

    @app.get("/v1/pairs")
    def pairs() -> wire.ChainSet:
        """All tag pairs with their states, at the present epoch."""
        return daemon.pairs()

    @app.get("/v1/pairs/{tags}/active")
    def active(tags: str) -> wire.PairActivity:
        """Is anything left of this pair (`2-3`) here? The management system polls it during a cool-down."""
        return daemon.activity(TagPair.parse(tags))

    @app.get("/v1/stats")
    def stats() -> wire.BalancerStats:
        """Sessions and traffic of each pair, and all counters; a master's answer includes its slave's."""
        return daemon.stats()

    if isinstance(daemon, Master):
        _add_master(app, daemon)
    else:
        _add_slave(app, daemon)
    return app


def _add_master(app: FastAPI, master: Master) -> None:
    @app.post("/v1/changes")
    def change(request: wire.Change) -> wire.ChainSet:
        """Add, remove and forget tag pairs, all in one epoch or not at all."""
        return master.change(request)

    @app.post("/v1/rebalance")
    def rebalance(request: wire.Rebalance) -> wire.Rebalanced:
        """Re-balance new sessions, or set the weights. Live sessions stay, but for idle ones on request."""
        return master.rebalance(request)

    @app.post("/v1/pairs/{tags}/sessions/end")
    def end_sessions(tags: str, request: wire.Ending) -> wire.PairEnded:
        """End what is left of a pair that is being removed. It may be repeated until nothing is left."""
        return master.end_sessions(TagPair.parse(tags), request.then)

    @app.get("/v1/session")
    def session(key: wire.SessionText) -> wire.SessionView:
        """One session (`tcp 10.0.0.1:4000 10.0.0.2:80`) and its chain."""
        return master.session(key)

    @app.post("/v1/sessions/end")
    def end_session(request: wire.SessionOrder) -> wire.SessionView:
        """Reset one TCP connection, or move one session to another chain."""
        return master.end_session(request)


def _add_slave(app: FastAPI, slave: Slave) -> None:
    @app.post("/v1/handshake")
    def handshake(request: wire.Handshake) -> wire.HandshakeReply:
        """From the master: all that its slave must know."""
        return slave.handshake(request)

    @app.get("/v1/pins")
    def pins(since_ms: int | None = None) -> StreamingResponse:
        """To the master: all pins as binary records, or those seen at `since_ms` of this clock or later."""
        return StreamingResponse(slave.pins(since_ms), media_type="application/octet-stream")

    @app.put("/v1/pins", status_code=204)
    async def put_pins(request: Request, master_id: str) -> None:
        """From the master: binary records of what it has seen, where chains rewrite keys."""
        await run_in_threadpool(slave.put_pins, master_id, [await request.body()])

    @app.put("/v1/chain-set", status_code=204)
    def put_chain_set(request: wire.ChainSetUpdate) -> None:
        """From the master: the chain set of a new epoch."""
        slave.put_chain_set(request)

    @app.post("/v1/sweep")
    def sweep(request: wire.SweepOrder) -> wire.Swept:
        """From the master, which ends the same sessions next."""
        return slave.sweep(request)
