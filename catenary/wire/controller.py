"""What the controller is told and tells: chains to steer, rules, the network and its segments."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from catenary.wire.common import EXPLAINED, Model, Name, Tags, examples


class SteerRequest(Model):
    """Carry this tag pair through these NFs, in forward order; through none: past all of them."""

    model_config = examples({"segment": "main", "tags": {"forward": 2, "reverse": 3}, "nfs": ["n1"]})

    segment: Name
    tags: Tags
    nfs: list[Name]


class SteerRequests(Model):
    """Several chains, by name."""

    model_config = examples(
        {"chains": {"chain-1": {"segment": "main", "tags": {"forward": 2, "reverse": 3}, "nfs": ["n1"]}}}
    )

    chains: dict[Name, SteerRequest] = Field(min_length=1)


class SteeredChain(SteerRequest):
    """A chain as steered: `path` names every switch and NF in forward order from master to slave LB."""

    name: Name
    cookie: int
    path: list[str]
    rules: int
    installed: bool
    waiting_for: list[str] = Field(default_factory=list)  # copying one takes longer than all else here


class RuleView(Model):
    """One OpenFlow rule with its counters."""

    model_config = EXPLAINED

    switch: Name
    table: int
    priority: int
    cookie: int
    """that of its chain"""
    match: dict[str, str | int]
    actions: list[str]
    packets: int
    """packets that it matched since the switch has it"""
    bytes: int
    """bytes of their Ethernet frames"""
    installed: bool
    """`false`: the switch does not show it"""


class PortRef(Model):
    switch: Name
    port: str


class LinkView(Model):
    a: PortRef
    b: PortRef


class SwitchView(Model):
    model_config = EXPLAINED

    name: Name
    dpid: int
    """its datapath ID"""
    connected: bool
    ports: list[str]
    dropped_packets: int = 0
    """packets that no rule wanted"""


class TopologyView(Model):
    switches: list[SwitchView]
    links: list[LinkView]
    attachments: dict[str, PortRef]


class SegmentView(Model):
    """Whether a segment's pair is in the way of the traffic.

    `ago` are the seconds since it was inserted; None if it is not, or stood there from the beginning.
    `around`: traffic is led past both of its load balancers.
    """

    name: Name
    inserted: bool
    ago: float | None = None
    around: bool = False


LinkState = Literal["up", "down", "unknown"]
Place = Literal["first", "standby"]
"""Of a load balancer: where the network has it, or where its standby is."""


class AttachedBalancer(Model):
    """A load balancer as its switch sees it."""

    model_config = EXPLAINED

    name: Name
    outer: LinkState
    """of its outer port: `down` also when the port is gone, `unknown` while the switch is not connected"""
    inner: LinkState
    fenced: bool
    """is all dropped that comes from its ports, or goes there?"""
    around: bool
    """is traffic led around its segment?"""
    place: Place = "first"
    """is it where the network has it, or where its standby was?"""


class NetworkView(Model):
    """The network that the controller steers through."""

    revision: str


class ControllerHealth(Model):
    status: Literal["ok", "degraded"]
    switches_connected: int
    switches_expected: int
    reason: str | None = None
