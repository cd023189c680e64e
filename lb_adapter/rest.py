"""The REST service of a load balancer. Which calls exist depends on the role."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from catenary import pcap, wire
from catenary.callers import Callers
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable, Unsupported
from catenary.explanations import CapturePackets, CaptureSeconds, SessionForecast
from catenary.exposition import add_metrics_route
from catenary.pages import LINK, link
from catenary.problems import problems
from catenary.roles import Role
from catenary.service import create_app
from catenary.session import SessionKey
from catenary.tags import TagPair
from lb_adapter import metrics
from lb_adapter.capture import Limits
from lb_adapter.listing import SessionQuery
from lb_adapter.master import Master
from lb_adapter.slave import Slave
from lb_adapter.standby import StandsBy

PINS_LIMIT = 64 << 20
"""Bytes of pins in one body; a master sends 65536 sessions of 56 bytes at a time."""
TAGS = {
    "status": "Is it well, and what does it carry?",
    "pairs": "The tag pairs of the chains, and how new sessions are shared among them.",
    "sessions": "Single sessions, and those of a chain that is being removed.",
    "peer": "What load balancers ask of each other, and a standby is told.",
}
ROLES = {
    "health": Role.VIEWER,
    "stats": Role.VIEWER,
    "list_pairs": Role.VIEWER,
    "is_pair_active": Role.VIEWER,
    "list_sessions": Role.VIEWER,
    "show_session": Role.VIEWER,
    "show_lives": Role.VIEWER,
    "forecast_session": Role.VIEWER,
    "capture": Role.OPERATOR,
    "change_pairs": Role.OPERATOR,
    "rebalance": Role.OPERATOR,
    "end_sessions": Role.OPERATOR,
    "end_session": Role.OPERATOR,
    "put_health_check": Role.OPERATOR,
    "take_over": Role.OPERATOR,
    # From its standby only.
    "feed": Role.ADMIN,
    # From its master only: a management system needs none of them.
    "greet": Role.ADMIN,
    "dismiss": Role.ADMIN,
    "copy_pins": Role.ADMIN,
    "put_pins": Role.ADMIN,
    "put_chain_set": Role.ADMIN,
    "give_nonce": Role.ADMIN,
    "sweep": Role.ADMIN,
}
PairPath = Annotated[
    str,
    Path(
        description="a tag pair, FORWARD-REVERSE",
        examples=["2-3"],
        json_schema_extra={"pattern": "^[0-9]{1,4}-[0-9]{1,4}$"},  # who breaks it is told the fix
    ),
]
PairQuery = Annotated[
    str,
    Query(
        description="a tag pair, FORWARD-REVERSE",
        examples=["2-3"],
        json_schema_extra={"pattern": "^[0-9]{1,4}-[0-9]{1,4}$"},
    ),
]
Moment = Annotated[
    int | None,
    Query(ge=0, lt=2**32, description="ms of the slave's clock, as in the last copy; all, if null"),
]
_PINS: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_PCAP: dict[str, Any] = {pcap.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_CHANGES = problems(NotFound, Conflict, Unavailable)


def build(daemon: Master | Slave, callers: Callers | None) -> FastAPI:
    """The app of `daemon`; every call needs a token of the right role if there are `callers`."""
    app = create_app("Catenary load balancer", callers, ROLES, tags=TAGS, limits={"/v1/pins": PINS_LIMIT})

    @app.get("/v1/health", tags=["status"])
    def health() -> wire.BalancerHealth:
        """Is it up, and does it know its peer?"""
        return daemon.health()

    @app.get("/v1/stats", tags=["status"])
    def stats() -> wire.BalancerStats:
        """Sessions and traffic of each pair, and all counters.

        A master's answer includes its slave's. Where to count all sessions takes longer than 0.25 s, they are
        told as they were counted last, which takes a quarter of the time at most.
        """
        return daemon.stats()

    @app.get("/v1/pairs", tags=["pairs"])
    def list_pairs() -> wire.ChainSet:
        """All tag pairs with their states, at the present epoch."""
        return daemon.pairs()

    @app.get("/v1/pairs/{tags}/active", tags=["pairs"], responses=problems(NotFound))
    def is_pair_active(tags: PairPath) -> wire.PairActivity:
        """Is anything left of this pair here?

        The management system polls it during a cool-down.
        """
        return daemon.activity(TagPair.parse(tags))

    @app.get(
        "/v1/capture",
        tags=["sessions"],
        responses={200: {"content": _PCAP}, **problems(NotFound, Conflict, Unsupported)},
        response_class=StreamingResponse,
    )
    def capture(
        pair: PairQuery,
        seconds: CaptureSeconds = 10.0,
        packets: CapturePackets = 10_000,
        key: wire.SessionText | None = None,
    ) -> StreamingResponse:
        """What a pair gets and gives at the inner port, or one session of it, as a pcap.

        It grows until the time is over, as many packets have come, or the caller goes away. The frames bear
        the chain's tag.
        """
        wanted = None if key is None else SessionKey.parse(key)
        made = daemon.capture(TagPair.parse(pair), wanted, Limits(seconds, packets))
        return StreamingResponse(made.stream(), media_type=pcap.MEDIA_TYPE)

    add_metrics_route(app, lambda: metrics.samples(daemon.own_stats()))
    _add_sessions(app, daemon)
    if isinstance(daemon, Master):
        _add_master(app, daemon)
    else:
        _add_slave(app, daemon)
    _add_feed(app, daemon)
    if isinstance(daemon, StandsBy):
        _add_standby(app, daemon)
    return app


def _add_sessions(app: FastAPI, daemon: Master | Slave) -> None:
    @app.get("/v1/sessions", tags=["sessions"], responses={200: {"headers": LINK}})
    def list_sessions(
        request: Request, response: Response, query: Annotated[SessionQuery, Depends(_query)]
    ) -> list[wire.SessionEntry]:
        """Live sessions, or those that ended lately, the largest first of what they are sorted by.

        There may be more if there is a Link to the next page.
        """
        entries, after = daemon.sessions(query)
        if after is not None:
            link(request, response, after)
        return entries

    @app.get("/v1/session", tags=["sessions"], responses=problems(NotFound, Conflict))
    def show_session(key: wire.SessionText) -> wire.SessionEntry:
        """Show one session: its chain, how it got that, and what it carried.

        Of a key that has none, the last that ended.
        """
        return daemon.session(key)


def _query(
    tags: Annotated[str | None, Query(description="a tag pair, FORWARD-REVERSE", examples=["2-3"])] = None,
    state: wire.SessionState | None = None,
    older: Annotated[float, Query(ge=0, le=1e6, description="placed so many seconds ago or more")] = 0.0,
    idle: Annotated[float, Query(ge=0, le=1e6, description="seconds without a packet")] = 0.0,
    sort: wire.SessionSort = "age",
    ended: Annotated[bool, Query(description="those that ended, in place of live ones")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="where the page before ended", max_length=100)] = None,
) -> SessionQuery:
    pair = None if tags is None else TagPair.parse(tags)
    return SessionQuery(pair, state, older, idle, sort, ended, limit, after)


def _add_master(app: FastAPI, master: Master) -> None:
    @app.post("/v1/changes", tags=["pairs"], responses=_CHANGES)
    def change_pairs(request: wire.Change) -> wire.ChainSet:
        """Add, remove, take back and forget tag pairs.

        All of it is one epoch, or nothing happens. What is done already is not done again.
        """
        return master.change(request)

    @app.put("/v1/health-check", tags=["pairs"], responses=_CHANGES)
    def put_health_check(request: wire.HealthOrder) -> wire.ChainSet:
        """Say how chains are probed, and what becomes of the sessions of one that is down.

        What earlier probes said is forgotten.
        """
        return master.put_health(request)

    @app.post("/v1/rebalance", tags=["pairs"], responses=_CHANGES)
    def rebalance(request: wire.Rebalance) -> wire.Rebalanced:
        """Re-balance new sessions, or set the weights.

        Live sessions stay, but for idle ones on request.
        """
        return master.rebalance(request)

    @app.post("/v1/pairs/{tags}/sessions/end", tags=["sessions"], responses=_CHANGES)
    def end_sessions(tags: PairPath, request: wire.Ending) -> wire.PairEnded:
        """End what is left of a pair that is being removed.

        It closes the pair, and may be repeated until the pair is drained.
        """
        return master.end_sessions(TagPair.parse(tags), request.then)

    @app.get("/v1/lives", tags=["sessions"])
    def show_lives() -> wire.LifeTable:
        """How long sessions live, and how old those are that are alive.

        From it follows how long a chain would cool down.
        """
        return master.lives()

    @app.get("/v1/session/forecast", tags=["sessions"], responses=problems(Conflict))
    def forecast_session(key: wire.DirectedText) -> SessionForecast:
        """Where would a session go that began now?

        The chains that the policy weighs, with their live sessions at this moment.
        """
        return master.forecast(key)

    @app.post("/v1/sessions/end", tags=["sessions"], responses=_CHANGES)
    def end_session(request: wire.SessionOrder) -> wire.SessionView:
        """Reset one TCP connection, or move one session to another chain."""
        return master.end_session(request)


def _add_feed(app: FastAPI, daemon: Master | Slave) -> None:
    @app.get(
        "/v1/feed",
        tags=["peer"],
        responses={200: {"content": _PINS}, **problems(Conflict)},
        response_class=StreamingResponse,
    )
    def feed() -> StreamingResponse:
        """To its standby: all pins as binary records, then what changes, until one of both goes away."""
        return StreamingResponse(daemon.feed(), media_type="application/octet-stream")


def _add_standby(app: FastAPI, standby: StandsBy) -> None:
    @app.post("/v1/take-over", tags=["peer"], responses=problems(Conflict))
    def take_over(request: wire.TakeOverOrder) -> wire.BalancerHealth:
        """Take the place of the load balancer that this one stands by for.

        That one must be fenced: cut off by switch rules. Its `standby` in the health tells when it is done;
        the same call again changes nothing.
        """
        return standby.take_over(request)


def _add_slave(app: FastAPI, slave: Slave) -> None:
    @app.post("/v1/handshake", tags=["peer"], responses=problems(Conflict))
    def greet(request: wire.Handshake) -> wire.HandshakeReply:
        """From the master: all that its slave must know.

        The slave obeys the master that greeted it last.
        """
        return slave.handshake(request)

    @app.post("/v1/dismissal", status_code=204, tags=["peer"], responses=problems(Conflict))
    def dismiss(request: wire.Dismissal) -> None:
        """From the master: a standby has taken the place of this slave process."""
        slave.dismiss(request)

    @app.get("/v1/pins", tags=["peer"], responses={200: {"content": _PINS}}, response_class=StreamingResponse)
    def copy_pins(since_ms: Moment = None) -> StreamingResponse:
        """To the master: all pins as binary records, or those that were seen since.

        A header, frames of records with count and checksum, and an end that says how many there were.
        """
        return StreamingResponse(slave.pins(since_ms), media_type="application/octet-stream")

    @app.put(
        "/v1/pins",
        status_code=204,
        tags=["peer"],
        responses=problems(Conflict, InvalidValue),
        openapi_extra={"requestBody": {"content": _PINS, "required": True}},
    )
    async def put_pins(request: Request, master_id: str) -> None:
        """From the master: binary records of what it has seen, where chains rewrite keys."""
        request.state.quiet = True  # it comes twice a second
        await run_in_threadpool(slave.put_pins, master_id, [await request.body()])

    @app.put("/v1/chain-set", status_code=204, tags=["peer"], responses=problems(Conflict))
    def put_chain_set(request: wire.ChainSetUpdate) -> None:
        """From the master: the chain set of a new epoch."""
        slave.put_chain_set(request)

    @app.post("/v1/nonce", tags=["peer"], responses=problems(Conflict))
    def give_nonce(request: wire.NonceRequest) -> wire.Nonce:
        """To the master: what its next order must bear.

        It takes the place of the one before.
        """
        return slave.nonce(request)

    @app.post("/v1/sweep", tags=["peer"], responses=problems(Conflict))
    def sweep(request: wire.SweepOrder) -> wire.Swept:
        """From the master: let go of what it ends next."""
        return slave.sweep(request)
