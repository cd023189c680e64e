"""Typed clients of the three REST services, over httpx. CLI, experiments and users use `ManagementClient`."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from catenary import wire
from catenary.config import NetworkConfig, ServiceConfig
from catenary.errors import Unavailable
from catenary.explanations import ChainHops, Explanation, SessionForecast
from catenary.http import Client
from catenary.led import LedClient
from catenary.plans import PlanView, ServiceView
from catenary.tags import TagPair
from catenary.tls import Identity
from catenary.token import read_token
from catenary.traffic import TrafficSample

DEFAULT_URL = "http://127.0.0.1:8080"
_COPIED_S = 60.0
"""Seconds that the management system may take to copy its store, and to check the copy."""
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What a header may hold as it is, beside letters and digits; anything else is percent-encoded."""


def user() -> str:
    """Who runs this, as the journal has it: user@host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an ID without a name, as containers have it
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


class ManagementClient(LedClient):
    """The management system: what operators, experiments and the CLI talk to.

    Its journal keeps `who` asks for a change, and `why`. `match` is the `revision` of what was read: a chain,
    the list of chains, the configuration. If that has changed since, `PreconditionFailed` is raised, and
    nothing is done.

    `url` may be several, with commas between, of management systems that share a store.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, who: str | None = None, why: str | None = None, **options: Any
    ) -> None:
        said = {"Catenary-User": who, "Catenary-Why": why}
        headers = {name: quote(text, safe=_PLAIN) for name, text in said.items() if text is not None}
        super().__init__(url, what="management system", headers=headers, **options)

    @classmethod
    def from_environment(
        cls, why: str | None = None, *, who: str | None = None, token: str | None = None, **options: Any
    ) -> Self:
        """From CATENARY_URL, CATENARY_TOKEN_FILE, CATENARY_CA, CATENARY_CERT and CATENARY_KEY, all optional.

        `who` is user@host; a `token` that is given takes the place of the file.
        """
        names = ("CATENARY_TOKEN_FILE", "CATENARY_CA", "CATENARY_CERT", "CATENARY_KEY")
        token_file, ca, cert, key = (Path(text) if text else None for text in map(os.environ.get, names))
        return cls(
            os.environ.get("CATENARY_URL", DEFAULT_URL),
            token=token or read_token(token_file),
            ca=ca,
            identity=Identity.given(cert, key, "CATENARY_CERT and CATENARY_KEY"),
            who=who or user(),
            why=why,
            **options,
        )

    def caller(self) -> wire.CallerView:
        """As whom the service knows the bearer of this token."""
        return self.call("GET", "/v1/caller", wire.CallerView)

    def health(self) -> wire.ManagementHealth:
        return self.call("GET", "/v1/health", wire.ManagementHealth)

    def status(self) -> wire.StatusView:
        return self.call("GET", "/v1/status", wire.StatusView)

    def traffic(self, since: float | None = None, limit: int | None = None) -> list[TrafficSample]:
        """Samples later than a moment (s since the epoch), oldest first; without one, the last."""
        return self.call("GET", "/v1/traffic", list[TrafficSample], since=since, limit=limit)

    def chains(self, at: float | None = None) -> list[wire.ChainView]:
        """Those of today, or of a past moment: seconds since the epoch."""
        return self.call("GET", "/v1/chains", list[wire.ChainView], at=at)

    def history(self, **wanted: Any) -> Iterator[wire.HistoryEntry]:
        """Entries of the journal, oldest first. `wanted` may have `since` and `until` (seconds since the
        epoch), `after` (a number), `last` (the last so many), `chain`, `segment`, `kind` and `who`."""
        for entries in self.pages("/v1/history", list[wire.HistoryEntry], **wanted):
            yield from entries

    def chain(self, name: str) -> wire.ChainView:
        return self.call("GET", f"/v1/chains/{name}", wire.ChainView)

    def chains_revision(self) -> str:
        """That of the list of chains: `match` of an add or a rebalance."""
        return self.revision("/v1/chains")

    def add_chain(self, request: wire.ChainRequest, *, match: str | None = None) -> wire.OperationView:
        return self.call("POST", "/v1/chains", wire.OperationView, request, match=match)

    def remove_chain(
        self,
        name: str,
        *,
        force: bool = False,
        deadline: float | None = None,
        then: wire.Then | None = None,
        match: str | None = None,
    ) -> wire.OperationView:
        """`deadline` seconds after the last new session what is left is reset or rebalanced (`then`)."""
        return self.call(
            "DELETE",
            f"/v1/chains/{name}",
            wire.OperationView,
            match=match,
            force=force,
            deadline=deadline,
            then=then,
        )

    def cancel_removal(self, name: str, *, match: str | None = None) -> wire.OperationView:
        return self.call("POST", f"/v1/chains/{name}/cancel", wire.OperationView, match=match)

    def cordon_chain(self, name: str, *, force: bool = False, match: str | None = None) -> wire.ChainView:
        return self.call("POST", f"/v1/chains/{name}/cordon", wire.ChainView, match=match, force=force)

    def uncordon_chain(self, name: str, *, match: str | None = None) -> wire.ChainView:
        return self.call("POST", f"/v1/chains/{name}/uncordon", wire.ChainView, match=match)

    def insert(self, segment: str, *, match: str | None = None) -> wire.SegmentView:
        """Put the pair of a segment around the chain that carries its traffic. Idempotent."""
        return self.call("POST", f"/v1/segments/{segment}/insert", wire.SegmentView, match=match)

    def rebalance(
        self,
        request: wire.Rebalance | None = None,
        *,
        segment: str | None = None,
        match: str | None = None,
    ) -> wire.Rebalanced:
        """Spread new sessions afresh; `segment` is needed if there are several and no weights are given."""
        body = request or wire.Rebalance()
        return self.call("POST", "/v1/rebalance", wire.Rebalanced, body, match=match, segment=segment)

    def session(self, key: str, segment: str | None = None) -> wire.SegmentSession:
        """A session, the last of its key if it ended."""
        return self.call("GET", "/v1/session", wire.SegmentSession, key=key, segment=segment)

    def sessions(self, **wanted: Any) -> Iterator[wire.SegmentSession]:
        """Sessions, page by page; what may be `wanted` is what the REST call takes, `limit` is of a page."""
        for page in self.pages("/v1/sessions", list[wire.SegmentSession], **wanted):
            yield from page

    def capture(
        self, chain: str, *, at: str = "master", session: str | None = None, seconds: float, packets: int
    ) -> Iterator[bytes]:
        """A pcap of what a chain, or one session in it, gets and gives at one of its load balancers."""
        query = {"chain": chain, "at": at, "session": session, "seconds": seconds, "packets": packets}
        return self.stream("/v1/capture", silence=seconds, **query)

    def backup(self) -> Iterator[bytes]:
        """A copy of its store, as of one moment: an SQLite file."""
        return self.stream("/v1/backup", silence=_COPIED_S)

    def explain(self, session: str, segment: str | None = None) -> Explanation:
        """Where a session goes and why; one that is over, or did not begin yet, too."""
        return self.call("GET", "/v1/explain", Explanation, session=session, segment=segment)

    def end_session(self, request: wire.SessionRequest) -> wire.SessionStatus:
        """Reset a TCP connection, or move a session to another chain."""
        return self.call("POST", "/v1/sessions/end", wire.SessionStatus, request)

    def config_revision(self) -> str:
        """That of the configuration: `match` of an apply."""
        return self.revision("/v1/config")

    def config(self) -> ServiceConfig:
        """What is in force, as a document that could be applied."""
        return self.call("GET", "/v1/config", ServiceConfig)

    def plan(
        self,
        config: ServiceConfig,
        *,
        force: bool = False,
        deadline: float | None = None,
        then: wire.Then | None = None,
    ) -> PlanView:
        """What applying a document would change and cost now; changes nothing."""
        return self.call("POST", "/v1/plan", PlanView, config, force=force, deadline=deadline, then=then)

    def apply(
        self,
        config: ServiceConfig,
        *,
        token: str | None = None,
        match: str | None = None,
        force: bool = False,
        deadline: float | None = None,
        then: wire.Then | None = None,
    ) -> wire.OperationView | None:
        """Make a document true; `token` is that of its plan. None: there is nothing to do."""
        query = {"plan": token, "force": force, "deadline": deadline, "then": then}
        content = self.send("PUT", "/v1/config", config, match=match, **query)
        return wire.OperationView.model_validate_json(content) if content else None

    def services(self) -> list[ServiceView]:
        return self.call("GET", "/v1/services", list[ServiceView])

    def service(self, name: str) -> ServiceView:
        return self.call("GET", f"/v1/services/{name}", ServiceView)

    def operations(self) -> list[wire.OperationView]:
        return self.call("GET", "/v1/operations", list[wire.OperationView])

    def operation(self, operation_id: str) -> wire.OperationView:
        return self.call("GET", f"/v1/operations/{operation_id}", wire.OperationView)

    def wait(
        self,
        operation: wire.OperationView,
        timeout: float,
        *,
        poll: float = 0.05,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> wire.OperationView:
        """Poll until the operation is over, or raise `Unavailable` after `timeout` seconds."""
        deadline = clock() + timeout
        while operation.state == "running":
            if clock() > deadline:
                raise Unavailable(
                    f"operation {operation.id} ({operation.kind} {operation.chain or 'a file'}) is not done "
                    f"after {timeout:g} s: {self._standing(operation)}"
                )
            sleep(poll)
            operation = self.operation(operation.id)
        return operation

    def _standing(self, operation: wire.OperationView) -> str:
        """How far an operation is, and what it waits for."""
        if operation.kind == "apply":
            waiting = [chain for chain in self.chains() if chain.name in operation.chains and chain.reason]
            reasons = [f"{chain.name} is {chain.state}, {chain.reason}" for chain in waiting]
            return "; ".join([f"{operation.done} of {len(operation.chains)} chains are", *reasons])
        chain = self.chain(operation.chain)
        return f"the chain is {chain.state}" + (f", {chain.reason}" if chain.reason else "")


class BalancerClient(Client):
    """A load balancer, master or slave."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **{"what": "load balancer", **options})

    def health(self) -> wire.BalancerHealth:
        return self.call("GET", "/v1/health", wire.BalancerHealth)

    def pairs(self) -> wire.ChainSet:
        return self.call("GET", "/v1/pairs", wire.ChainSet)

    def change(self, change: wire.Change) -> wire.ChainSet:
        """Add, remove and forget tag pairs in one epoch (master only)."""
        return self.call("POST", "/v1/changes", wire.ChainSet, change)

    def activity(self, pair: TagPair) -> wire.PairActivity:
        return self.call("GET", f"/v1/pairs/{pair.path}/active", wire.PairActivity)

    def stats(self) -> wire.BalancerStats:
        return self.call("GET", "/v1/stats", wire.BalancerStats)

    def put_health(self, order: wire.HealthOrder) -> wire.ChainSet:
        """Say how chains are probed (master only)."""
        return self.call("PUT", "/v1/health-check", wire.ChainSet, order)

    def rebalance(self, request: wire.Rebalance) -> wire.Rebalanced:
        return self.call("POST", "/v1/rebalance", wire.Rebalanced, request)

    def end_sessions(self, pair: TagPair, request: wire.Ending) -> wire.PairEnded:
        """End what is left of a pair that is being removed (master only). Repeat it until nothing is left."""
        return self.call("POST", f"/v1/pairs/{pair.path}/sessions/end", wire.PairEnded, request)

    def session(self, key: str) -> wire.SessionEntry:
        """One session, the last of its key if it ended; or `NotFound`."""
        return self.call("GET", "/v1/session", wire.SessionEntry, key=key)

    def list_sessions(self, **wanted: Any) -> list[wire.SessionEntry]:
        """A page of sessions; what may be `wanted` is what the REST call takes."""
        return self.call("GET", "/v1/sessions", list[wire.SessionEntry], **wanted)

    def lives(self) -> wire.LifeTable:
        """How long sessions live, and how old those are that are alive (master only)."""
        return self.call("GET", "/v1/lives", wire.LifeTable)

    def capture(
        self, pair: TagPair, *, key: str | None, seconds: float, packets: int
    ) -> AsyncIterator[bytes]:
        """A pcap of what a pair, or one session in it, gets and gives."""
        query = {"pair": pair.path, "key": key, "seconds": seconds, "packets": packets}
        return self.follow("/v1/capture", silence=seconds, **query)

    def forecast(self, key: str) -> SessionForecast:
        """Where a session would go that began now (master only)."""
        return self.call("GET", "/v1/session/forecast", SessionForecast, key=key)

    def end_session(self, request: wire.SessionOrder) -> wire.SessionView:
        """Reset or move one session (master only)."""
        return self.call("POST", "/v1/sessions/end", wire.SessionView, request)

    def nonce(self, request: wire.NonceRequest) -> wire.Nonce:
        """Master to slave only: for the next order."""
        return self.call("POST", "/v1/nonce", wire.Nonce, request)

    def sweep(self, order: wire.SweepOrder) -> wire.Swept:
        """Master to slave only."""
        return self.call("POST", "/v1/sweep", wire.Swept, order)

    def handshake(self, handshake: wire.Handshake) -> wire.HandshakeReply:
        """Master to slave only."""
        return self.call("POST", "/v1/handshake", wire.HandshakeReply, handshake)

    def put_chain_set(self, update: wire.ChainSetUpdate) -> None:
        """Master to slave only: the whole chain set; an older epoch is refused."""
        self.send("PUT", "/v1/chain-set", update)

    def pins(self, since_ms: int | None) -> Iterator[bytes]:
        """Master to slave only: all its pins, or those seen since, as a stream (`lb_adapter.records`)."""
        return self.stream("/v1/pins", since_ms=since_ms)

    def put_pins(self, master_id: str, stream: Iterator[bytes]) -> None:
        """Master to slave only: pins of the master's, in the same form."""
        self.send("PUT", "/v1/pins", b"".join(stream), master_id=master_id)


class ControllerClient(Client):
    """The OpenFlow controller's REST."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **{"what": "controller", **options})

    def health(self) -> wire.ControllerHealth:
        return self.call("GET", "/v1/health", wire.ControllerHealth)

    def topology(self) -> wire.TopologyView:
        return self.call("GET", "/v1/topology", wire.TopologyView)

    def chains(self) -> list[wire.SteeredChain]:
        return self.call("GET", "/v1/chains", list[wire.SteeredChain])

    def steer(self, name: str, request: wire.SteerRequest) -> wire.SteeredChain:
        """Install the rules of a chain, done when every switch has answered the barrier. Idempotent."""
        return self.call("PUT", f"/v1/chains/{name}", wire.SteeredChain, request)

    def check(self, name: str, request: wire.SteerRequest) -> None:
        """Would `steer` succeed? Raises what it would raise, and changes nothing."""
        self.send("POST", f"/v1/chains/{name}/check", request)

    def steer_all(self, requests: Mapping[str, wire.SteerRequest]) -> list[wire.SteeredChain]:
        """Several chains, all of them or none. Idempotent."""
        body = wire.SteerRequests(chains=dict(requests))
        return self.call("PUT", "/v1/chains", list[wire.SteeredChain], body)

    def check_all(self, requests: Mapping[str, wire.SteerRequest]) -> None:
        """Would `steer_all` succeed? Raises what it would raise, and changes nothing."""
        self.send("PUT", "/v1/chains", wire.SteerRequests(chains=dict(requests)), check=True)

    def unsteer(self, name: str) -> None:
        """Remove every rule of a chain; a chain that is not steered is `NotFound`."""
        self.send("DELETE", f"/v1/chains/{name}")

    def segments(self) -> list[wire.SegmentView]:
        return self.call("GET", "/v1/segments", list[wire.SegmentView])

    def insert(self, segment: str) -> wire.SegmentView:
        """Lead a segment's traffic through its pair, which knows the chain already. Idempotent."""
        return self.call("PUT", f"/v1/segments/{segment}/inserted", wire.SegmentView)

    def network(self) -> wire.NetworkView:
        """Which network the controller knows."""
        return self.call("GET", "/v1/network", wire.NetworkView)

    def put_network(self, network: NetworkConfig, *, check: bool = False) -> wire.NetworkView:
        """Have it know another one; `Conflict` if that changes what a chain uses. `check`: only ask."""
        return self.call("PUT", "/v1/network", wire.NetworkView, network, check=check)

    def hops(self, name: str) -> ChainHops:
        """The rules of a chain in the order in which frames meet them."""
        return self.call("GET", f"/v1/chains/{name}/hops", ChainHops)

    def rules(self, name: str) -> list[wire.RuleView]:
        return self.call("GET", f"/v1/chains/{name}/rules", list[wire.RuleView])
