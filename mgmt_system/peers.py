"""The other parts, as the engine and the status page call them; `catenary.client` has what stands behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from catenary import wire
from catenary.client import BalancerClient, ControllerClient
from catenary.config import ServiceConfig
from catenary.tags import TagPair
from catenary.token import read_token

CONTROLLER = "controller"


class Controller(Protocol):
    """What is asked of the controller; see `catenary.client.ControllerClient`."""

    def health(self) -> wire.ControllerHealth: ...
    def chains(self) -> list[wire.SteeredChain]: ...
    def check(self, name: str, request: wire.SteerRequest) -> None: ...
    def steer(self, name: str, request: wire.SteerRequest) -> wire.SteeredChain: ...
    def unsteer(self, name: str) -> None: ...
    def segments(self) -> list[wire.SegmentView]: ...
    def insert(self, segment: str) -> wire.SegmentView: ...


class Balancer(Protocol):
    """What is asked of a load balancer; see `catenary.client.BalancerClient`."""

    def health(self) -> wire.BalancerHealth: ...
    def pairs(self) -> wire.ChainSet: ...
    def change(self, change: wire.Change) -> wire.ChainSet: ...
    def activity(self, pair: TagPair) -> wire.PairActivity: ...
    def stats(self) -> wire.BalancerStats: ...
    def rebalance(self, request: wire.Rebalance) -> wire.Rebalanced: ...
    def end_sessions(self, pair: TagPair, request: wire.Ending) -> wire.PairEnded: ...
    def session(self, key: str) -> wire.SessionView: ...
    def end_session(self, request: wire.SessionOrder) -> wire.SessionView: ...


@dataclass(frozen=True)
class Peers:
    """The controller, and every load balancer by its name in the network file; `close` drops connections."""

    controller: Controller
    balancers: Mapping[str, Balancer]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Secrets:
    """Files with what the other parts ask for, and what proves who they are."""

    controller_token: Path | None = None
    controller_ca: Path | None = None
    balancer_token: Path | None = None
    balancer_ca: Path | None = None


def connect(network: ServiceConfig, secrets: Secrets, timeout: float) -> Peers:
    """Clients for all parts of `network`; no call is made yet. `timeout` in seconds, for every call.

    Raises `InvalidValue` for a token file that can't be read.
    """
    controller = ControllerClient(
        network.controller_url,
        token=read_token(secrets.controller_token),
        ca=secrets.controller_ca,
        timeout=timeout,
    )
    token = read_token(secrets.balancer_token)
    balancers = {
        name: BalancerClient(
            balancer.url, token=token, ca=secrets.balancer_ca, timeout=timeout, what=f"load balancer {name}"
        )
        for name, balancer in network.balancers.items()
    }

    def close() -> None:
        for client in (controller, *balancers.values()):
            client.close()

    return Peers(controller, balancers, close)
