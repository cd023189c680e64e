"""What operators write: `service.yaml`, one document for the controller and the management system.

`NetworkConfig` is what discovery can't know, and all that the controller reads. `ServiceConfig` adds what
runs on it: services and chains. Times may be written as durations (`60s`, `2h`); a plain number is seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from catenary import chain as _chain
from catenary import durations
from catenary.autoscale import AutoscaleConfig
from catenary.chain import WEIGHT_DEFAULT, TagMode
from catenary.classifier import PROTOCOLS, Ports, Rule
from catenary.config_faults import network_faults, service_faults
from catenary.config_shapes import DURATION_SCHEMA, Duration, Mac, Port, Url, seconds
from catenary.document import Fault, load, refuse
from catenary.health import FailMode
from catenary.wire import (
    EXPLAINED,
    Affinity,
    HealthCheckModel,
    Model,
    Name,
    PortRef,
    Prefix,
    Share,
    Tags,
    TimeoutsModel,
    VlanId,
    Weight,
)


class Section(Model):
    """A part of the file."""

    model_config = EXPLAINED


class HostAttachment(Section, PortRef):
    """A host outside the segment. It hangs on the switch of the LB whose outer side it is on."""

    port: Port
    mac: Mac


class NfAttachment(Section):
    """Where a network function hangs."""

    switch: Name
    ingress: Port
    """the port by which forward traffic enters it"""
    egress: Port
    """the port by which forward traffic leaves it; an NF with one port has the same twice"""
    tags: TagMode = TagMode.STRIPPED
    """does the NF see the tag?"""
    pool: list[Prefix] = []
    """what it translates addresses to, if it does; no address is in two NFs' pools"""

    def nf(self, name: str) -> _chain.NetworkFunction:
        return _chain.NetworkFunction(name, self.switch, self.ingress, self.egress, self.tags)


class StandbyAttachment(Section):
    """Where an LB's standby hangs, on the same switch. It takes its place when the machine is gone."""

    outer: Port
    """the switch's port to its outer one"""
    inner: Port
    """the switch's port to its inner one"""
    url: Url
    """where its REST service listens"""
    after: Duration = 0.5
    """for how long nobody hears of the other one before it takes its place"""


class BalancerAttachment(Section):
    """Where an LB's two ports hang."""

    switch: Name
    outer: Port
    """the switch's port to its outer one: clients or servers"""
    inner: Port
    """the switch's port to its inner one: the chains"""
    url: Url
    """where its REST service listens"""
    standby: StandbyAttachment | None = None
    """it runs with `--standby-of`, and has all of its sessions; a slave's is its master's `--peer-standby`"""

    def exchanged(self) -> BalancerAttachment:
        """With its standby in its place, and the other way round."""
        if self.standby is None:
            return self
        here, there = ({"outer": at.outer, "inner": at.inner, "url": at.url} for at in (self, self.standby))
        return self.model_copy(update={**there, "standby": self.standby.model_copy(update=here)})


def _durations_in_schema(schema: dict[str, Any]) -> None:
    for name, field in schema["properties"].items():
        schema["properties"][name] = {
            **DURATION_SCHEMA,
            "description": field["description"],
            "default": durations.text(TimeoutsModel.model_fields[name].default),
        }


class TimeoutsConfig(TimeoutsModel):
    """Each is 0.05s to 24h; `tcp_closing` is at least twice `transit`, `lease` 1.25 times."""

    model_config = ConfigDict(json_schema_extra=_durations_in_schema)

    @field_validator("*", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return seconds(value)

    @field_serializer("*", when_used="json")
    def _text(self, value: float) -> str:
        return durations.text(value)


class HealthConfig(HealthCheckModel):
    """How chains are probed, and what becomes of the sessions of one that is down."""

    interval: Duration = HealthCheckModel.model_fields["interval"].default
    """between probes of a chain; after one that was lost the next follows at once"""
    timeout: Duration = HealthCheckModel.model_fields["timeout"].default
    """in which a probe must be back, through the chain and back through it"""


class SegmentConfig(Section):
    """A pair, and what its master is started with: see `catenary lb run`."""

    master: Name
    """the load balancer on the clients' side; one belongs to one segment"""
    slave: Name
    """the load balancer on the servers' side"""
    ask_id: VlanId = 4094
    """VLAN ID of in-band asks; each segment has its own, and no chain may use it"""
    before: list[Name] = []
    """fixed NFs that everything crosses before the master, in forward order, on its switch"""
    after: list[Name] = []
    """fixed NFs that everything crosses after the slave, in forward order, on its switch"""
    inserted: StrictBool = True
    """`false`: the pair is not in the way yet, and the segment's one chain carries everything"""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    """what is promised to sessions"""
    rewrites: StrictBool = False
    """do chains change addresses or ports?"""
    affinity: Affinity = "session"
    """what keeps to one chain: a session, all between two addresses, or all of a client"""
    policy: Literal["maglev", "p2c"] = "p2c"
    """consistent hash, or the better of two of its answers by live sessions"""
    on_full: Literal["hash", "refuse"] | None = None
    """new sessions without room in the table; `refuse` where chains rewrite, else `hash`, unless given"""
    slow_start: Duration = 0.0
    """in which time a new chain gets its whole weight"""
    health: HealthConfig | None = None
    """how chains are probed; may be changed at any time"""
    when_lb_gone: FailMode = "fail-closed"
    """when a load balancer's machine is gone: is traffic dropped, or led around the segment? At any time"""

    @property
    def fails_open(self) -> bool:
        """Does traffic pass by when all chains are down?"""
        return self.health is not None and self.health.check().fails_open


class NetworkConfig(Section):
    """The network: read by the controller."""

    switches: dict[Name, Annotated[int, Strict(), Field(gt=0, lt=1 << 64)]]
    """their datapath IDs"""
    hosts: dict[Name, HostAttachment] = {}
    """clients, servers and gateways, by name"""
    nfs: dict[Name, NfAttachment]
    """network functions, by name"""
    balancers: dict[Name, BalancerAttachment]
    """load balancers, by name"""
    segments: dict[Name, SegmentConfig]
    """pairs of load balancers, by name"""
    controller_url: Url = "http://127.0.0.1:8081"
    """where the controller's REST service listens"""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        refuse(network_faults(self))
        return self

    @property
    def fixed(self) -> dict[str, str]:
        """The NFs that are no part of a chain, each with its segment."""
        return {nf: name for name, segment in self.segments.items() for nf in segment.before + segment.after}

    @property
    def network(self) -> NetworkConfig:
        """The part that the controller reads."""
        return NetworkConfig.model_construct(
            **{name: getattr(self, name) for name in NetworkConfig.model_fields}
        )

    @property
    def revision(self) -> str:
        """The same for documents that say the same, in whatever words and order."""
        said = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _ports_text(value: Any) -> Any:
    """A range of ports; a single one may be a number in YAML."""
    text = str(value)
    low, _, high = text.partition("-")
    if not re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?", text):
        raise ValueError(f"{text!r} is no range of ports: write 80 or 8000-8099")
    if not 0 < int(low) <= int(high or low) <= 65535:
        raise ValueError(f"{text!r} is no range of ports: the first comes first, and the last is 65535")
    return text


_PORTS_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 65535},
        {"type": "string", "pattern": r"^\d{1,5}(-\d{1,5})?$"},
    ]
}
PortsText = Annotated[str, BeforeValidator(_ports_text), WithJsonSchema(_PORTS_SCHEMA)]
"""`80`, or `8000-8099`."""


class TrafficConfig(Section):
    """Traffic that enters a service: what matches all that is given, in both directions alike."""

    client: list[Prefix] = []
    """prefixes of the clients' side"""
    server: list[Prefix] = []
    """prefixes of the servers' side"""
    protocol: Literal["tcp", "udp", "sctp", "icmp"] | None = None
    ports: list[PortsText] = []
    """the server's: `80`, `8000-8099`"""
    vlan: VlanId | None = None
    """a tag that the user's own frames bear"""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.ports and self.protocol not in ("tcp", "udp", "sctp"):
            text = f"{self.protocol} has no ports" if self.protocol else "not every protocol has ports"
            refuse([Fault(("ports",), f"{text}: say protocol tcp, udp or sctp, or leave them out")])
        if not self.rules(0):
            text = "these clients and servers never meet: give both of one IP version"
            refuse([Fault(("server",), text)])
        return self

    def rules(self, entry: int) -> list[Rule]:
        """As load balancers know it: a rule for each combination of what is given, as far as it can be."""
        numbers = PROTOCOLS[self.protocol] if self.protocol else (None,)
        ranges = [_range(text) for text in self.ports]
        given = product(self.client or (None,), self.server or (None,), numbers, ranges or (None,))
        return [
            Rule(entry, client, server, number, ports, self.vlan)
            for client, server, number, ports in given
            if len(_versions(client, server, number)) < 2
        ]


def _range(text: str) -> Ports:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _versions(client: Prefix | None, server: Prefix | None, protocol: int | None) -> set[int]:
    """The IP versions that traffic would have to be of."""
    of_protocol = {1: {4}, 58: {6}}.get(protocol or 0, set())
    return of_protocol | {prefix.version for prefix in (client, server) if prefix is not None}


class ServiceEntry(Section):
    """Segments in a row, and the traffic that crosses them."""

    segments: list[Name] = Field(min_length=1)
    """client side first"""
    classifier: list[TrafficConfig] = []
    """which traffic that is, at least one entry of these; all, unless given"""

    def rules(self) -> tuple[Rule, ...]:
        """Its classifier as load balancers know it."""
        return tuple(rule for entry, traffic in enumerate(self.classifier) for rule in traffic.rules(entry))


class ChainConfig(Section):
    """A chain that shall be there."""

    nfs: list[Name]
    """in forward order; none: what the classifier does not match passes by here"""
    segment: Name | None = None
    """needed if there are several"""
    tags: Tags | None = None
    """chosen unless given"""
    weight: Weight = WEIGHT_DEFAULT
    """share of new sessions among the chains of its segment"""
    cordoned: StrictBool = False
    """does it get no new session?"""
    canary: Share | None = None
    """percent of new sessions that it gets, in place of a weight: it has NFs of a new version, on trial"""


def bypass_name(segment: str) -> str:
    """The name of the chain for what passes by a segment, unless the document gives one."""
    return f"{segment}-bypass"


class ServiceConfig(NetworkConfig):
    """`service.yaml`: the network, and the services and chains on it.

    A segment that no service names is a service of its own name. Each segment of a service with a classifier
    has a chain without NFs; it need not be written down.
    """

    services: dict[Name, ServiceEntry] = {}
    """by name"""
    chains: dict[Name, ChainConfig] = {}
    """by name"""
    autoscale: dict[Name, AutoscaleConfig] = {}
    """segments that scale by themselves, by name: `chains` has none of theirs"""

    @model_validator(mode="after")
    def _served(self) -> Self:
        refuse(service_faults(self))
        return self

    def segment_of(self, chain: ChainConfig) -> str:
        """The segment of a chain: the one that it names, or the only one."""
        return chain.segment or next(iter(self.segments))

    def rules(self, segment: str) -> tuple[Rule, ...]:
        """The classifier of a segment; empty: all traffic enters."""
        services = (service for service in self.services.values() if segment in service.segments)
        return next((service.rules() for service in services), ())

    @property
    def bypasses(self) -> dict[str, ChainConfig]:
        """The chains without NFs that segments need, by name, beside those that the document has."""
        known = {self.segment_of(chain) for chain in self.chains.values() if not chain.nfs and self.segments}
        return {
            bypass_name(name): ChainConfig(nfs=[], segment=name) for name in self.passed if name not in known
        }

    @property
    def passed(self) -> list[str]:
        """The segments by which something may pass: what a classifier leaves out, or all that fail open."""
        services = (service for service in self.services.values() if service.classifier)
        classified = {name for service in services for name in service.segments}
        return [name for name, it in self.segments.items() if name in classified or it.fails_open]

    @classmethod
    def load(cls, text: str, where: str = "service.yaml") -> Self:
        """Parse YAML (JSON is YAML too); raises `InvalidValue` that names `where`, line, key and fault."""
        return load(cls, text, where)


def schema() -> dict[str, Any]:
    """The JSON schema of `service.yaml`."""
    found = ServiceConfig.model_json_schema(mode="validation")
    for model in (found, *found["$defs"].values()):
        for field in model.get("properties", {}).values():
            if "patternProperties" in field:  # keys are names, and nothing else
                field["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
