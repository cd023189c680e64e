"""Typed clients of the two services that the management system directs: load balancers and the controller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from catenary import wire
from catenary.config import NetworkConfig
from catenary.explanations import ChainHops, SessionForecast
from catenary.http import Client
from catenary.tags import TagPair


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

    def take_over(self, order: wire.TakeOverOrder) -> wire.BalancerHealth:
        """Have a standby take the place of its load balancer, which is fenced."""
        return self.call("POST", "/v1/take-over", wire.BalancerHealth, order)

    def feed(self) -> Iterator[bytes]:
        """Standby to active only: its pins and what changes of them, as a stream (`lb_adapter.feed`)."""
        return self.stream("/v1/feed")

    def nonce(self, request: wire.NonceRequest) -> wire.Nonce:
        """Master to slave only: for the next order."""
        return self.call("POST", "/v1/nonce", wire.Nonce, request)

    def sweep(self, order: wire.SweepOrder) -> wire.Swept:
        """Master to slave only."""
        return self.call("POST", "/v1/sweep", wire.Swept, order)

    def handshake(self, handshake: wire.Handshake) -> wire.HandshakeReply:
        """Master to slave only."""
        return self.call("POST", "/v1/handshake", wire.HandshakeReply, handshake)

    def dismiss(self, dismissal: wire.Dismissal) -> None:
        """Master to a slave whose standby has taken its place only."""
        self.send("POST", "/v1/dismissal", dismissal)

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

    def around(self, segment: str) -> wire.SegmentView:
        """Lead traffic past both load balancers of a segment. Idempotent."""
        return self.call("PUT", f"/v1/segments/{segment}/around", wire.SegmentView)

    def through(self, segment: str) -> wire.SegmentView:
        """Lead it through the segment's pair again. Idempotent."""
        return self.call("DELETE", f"/v1/segments/{segment}/around", wire.SegmentView)

    def balancers(self) -> list[wire.AttachedBalancer]:
        """The load balancers as their switches see them, by name."""
        return self.call("GET", "/v1/balancers", list[wire.AttachedBalancer])

    def place(self, balancer: str, place: wire.Place) -> wire.AttachedBalancer:
        """Lead what is a load balancer's to its standby, or back, and cut off the other place. Idempotent."""
        return self.call("PUT", f"/v1/balancers/{balancer}/place/{place}", wire.AttachedBalancer)

    def fence(self, balancer: str) -> wire.AttachedBalancer:
        """Have the switches take nothing from a load balancer, and send nothing there. Idempotent."""
        return self.call("PUT", f"/v1/balancers/{balancer}/fence", wire.AttachedBalancer)

    def unfence(self, balancer: str) -> wire.AttachedBalancer:
        """Let it take part again. Idempotent."""
        return self.call("DELETE", f"/v1/balancers/{balancer}/fence", wire.AttachedBalancer)

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
