"""When the services of a testbed are ready: what their own health does not tell."""

from __future__ import annotations

from contextlib import suppress

from catenary.config import ServiceConfig
from catenary.errors import Conflict, Unavailable
from catenary.part_clients import BalancerClient, ControllerClient
from catenary.wire import SteerRequest, Tags
from topologies.blueprint import Blueprint


def settled(controller: ControllerClient, blueprint: Blueprint, network: ServiceConfig) -> bool:
    """All switches and links are there, and a chain could be steered (discovery has settled)."""
    health = controller.health()
    seen = {frozenset((link.a.switch, link.b.switch)) for link in controller.topology().links}
    if health.switches_connected != len(blueprint.switches):
        return False
    if seen != set(map(frozenset, blueprint.trunks)):
        return False
    probe = SteerRequest(
        segment=next(iter(blueprint.segments)),
        tags=Tags(forward=4090, reverse=4091),
        nfs=[next(iter(network.nfs))],
    )
    with suppress(Conflict):  # the NF serves a chain already: as good an answer
        controller.check("probe", probe)
    return health.status == "ok"


def healthy(balancer: BalancerClient) -> bool:
    """It is well; raises `Unavailable` with its reason while it is not."""
    health = balancer.health()
    if health.status != "ok":
        raise Unavailable(f"it is {health.status}: {health.peer.reason}")
    return True
