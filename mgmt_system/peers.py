"""The other parts, as the engine and the status page call them; `catenary.client` has what stands behind."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from catenary import wire
from catenary.config import NetworkConfig
from catenary.errors import NotFound
from catenary.explanations import ChainHops, SessionForecast
from catenary.part_clients import BalancerClient, ControllerClient
from catenary.tags import TagPair
from catenary.tls import Identity
from catenary.token import read_token
from mgmt_system.current import Current

CONTROLLER = "controller"


class Controller(Protocol):
    """What is asked of the controller; see `catenary.client.ControllerClient`."""

    def health(self) -> wire.ControllerHealth: ...
    def chains(self) -> list[wire.SteeredChain]: ...
    def check_all(self, requests: Mapping[str, wire.SteerRequest]) -> None: ...
    def steer_all(self, requests: Mapping[str, wire.SteerRequest]) -> list[wire.SteeredChain]: ...
    def unsteer(self, name: str) -> None: ...
    def segments(self) -> list[wire.SegmentView]: ...
    def hops(self, name: str) -> ChainHops: ...
    def insert(self, segment: str) -> wire.SegmentView: ...
    def balancers(self) -> list[wire.AttachedBalancer]: ...
    def around(self, segment: str) -> wire.SegmentView: ...
    def through(self, segment: str) -> wire.SegmentView: ...
    def network(self) -> wire.NetworkView: ...
    def put_network(self, network: NetworkConfig, *, check: bool = False) -> wire.NetworkView: ...
    def place(self, balancer: str, place: wire.Place) -> wire.AttachedBalancer: ...


class Balancer(Protocol):
    """What is asked of a load balancer; see `catenary.client.BalancerClient`."""

    def health(self) -> wire.BalancerHealth: ...
    def pairs(self) -> wire.ChainSet: ...
    def change(self, change: wire.Change) -> wire.ChainSet: ...
    def put_health(self, order: wire.HealthOrder) -> wire.ChainSet: ...
    def activity(self, pair: TagPair) -> wire.PairActivity: ...
    def stats(self) -> wire.BalancerStats: ...
    def rebalance(self, request: wire.Rebalance) -> wire.Rebalanced: ...
    def end_sessions(self, pair: TagPair, request: wire.Ending) -> wire.PairEnded: ...
    def session(self, key: str) -> wire.SessionEntry: ...
    def list_sessions(self, **wanted: Any) -> list[wire.SessionEntry]: ...
    def lives(self) -> wire.LifeTable: ...
    def capture(
        self, pair: TagPair, *, key: str | None, seconds: float, packets: int
    ) -> AsyncIterator[bytes]: ...
    def forecast(self, key: str) -> SessionForecast: ...
    def end_session(self, request: wire.SessionOrder) -> wire.SessionView: ...
    def take_over(self, order: wire.TakeOverOrder) -> wire.BalancerHealth: ...


def _nowhere(name: str, url: str) -> Balancer:
    raise NotFound(f"{url} of load balancer {name!r} is not known here")


@dataclass(frozen=True)
class Peers:
    """The controller, and every load balancer by its name in the network file; `close` drops connections.

    `at` is one by its name and an address of its: its own, or its standby's.
    """

    controller: Controller
    balancers: Mapping[str, Balancer]
    close: Callable[[], None] = lambda: None
    at: Callable[[str, str], Balancer] = _nowhere


@dataclass(frozen=True)
class Secrets:
    """Files with what the other parts ask for, and what proves who they are."""

    controller_token: Path | None = None
    controller_ca: Path | None = None
    balancer_token: Path | None = None
    balancer_ca: Path | None = None
    identity: Identity | None = None


class Balancers(Mapping[str, Balancer]):
    """Clients of the load balancers in force, made when they are first asked for."""

    def __init__(self, network: Current, make: Callable[[str, str], BalancerClient]) -> None:
        self._network = network
        self._make = make
        self._clients: dict[tuple[str, str], BalancerClient] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Balancer:
        balancer = self._network.balancers.get(name)
        if balancer is None:
            raise NotFound(f"load balancer {name!r} is not part of the configuration any more")
        return self.at(name, balancer.url)

    def at(self, name: str, url: str) -> Balancer:
        """The one at this address, whatever place that is."""
        with self._lock:
            if (name, url) not in self._clients:
                self._clients[name, url] = self._make(name, url)
            return self._clients[name, url]

    def __iter__(self) -> Iterator[str]:
        return iter(self._network.balancers)

    def __len__(self) -> int:
        return len(self._network.balancers)

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()


def connect(network: Current, secrets: Secrets, timeout: float) -> Peers:
    """Clients for all parts of `network`; no call is made yet. `timeout` in seconds, for every call.

    Raises `InvalidValue` for a token or CA file that can't be read.
    """
    controller = ControllerClient(
        network.controller_url,
        token=read_token(secrets.controller_token),
        ca=secrets.controller_ca,
        identity=secrets.identity,
        timeout=timeout,
    )
    token = read_token(secrets.balancer_token)

    def make(name: str, url: str) -> BalancerClient:
        what = f"load balancer {name}"
        return BalancerClient(
            url,
            token=token,
            ca=secrets.balancer_ca,
            identity=secrets.identity,
            timeout=timeout,
            what=what,
        )

    balancers = Balancers(network, make)
    for name in balancers:  # what can't work says so at the start
        balancers[name]

    def close() -> None:
        controller.close()
        balancers.close()

    return Peers(controller, balancers, close, balancers.at)
