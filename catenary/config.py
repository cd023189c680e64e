"""What operators write: `service.yaml`, one document for the controller and the management system.

`NetworkConfig` is what discovery can't know, and all that the controller reads. `ServiceConfig` adds what
runs on it: services and chains. Times may be written as durations (`60s`, `2h`); a plain number is seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    PlainSerializer,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from catenary import chain as _chain
from catenary import durations
from catenary.chain import WEIGHT_DEFAULT, WEIGHT_MAX, TagMode
from catenary.config_faults import network_faults, service_faults
from catenary.document import Fault, load, refuse
from catenary.errors import CatenaryError
from catenary.wire import Affinity, Model, Name, PortRef, Tags, TimeoutsModel, VlanId

_DURATION_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": durations.PATTERN}],
    "description": "60s, 5m, 1h30m, or seconds",
}


def _seconds(value: Any) -> Any:
    """Seconds of a duration; what is no text is left to pydantic."""
    if not isinstance(value, str):
        return value
    try:
        return durations.parse(value)
    except CatenaryError as error:
        raise ValueError(error.detail) from error


Duration = Annotated[
    float,
    Field(ge=0, le=1e7),
    BeforeValidator(_seconds),
    PlainSerializer(durations.text, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""Seconds, written `60s`."""


def _mac(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_MAC, value):
        raise ValueError(f"{value!r} is no Ethernet address: write it like 00:00:00:00:00:0a, in quotes")
    return value


_MAC = "([0-9a-f]{2}:){5}[0-9a-f]{2}"
Mac = Annotated[str, BeforeValidator(_mac), WithJsonSchema({"type": "string", "pattern": f"^{_MAC}$"})]


class HostAttachment(PortRef):
    """A host outside the segment. It hangs on the switch of the LB whose outer side it is on."""

    mac: Mac


class NfAttachment(Model):
    """`pool`: what the NF translates addresses to, if it does; no address is in two NFs' pools."""

    switch: Name
    ingress: str
    egress: str
    tags: TagMode = TagMode.STRIPPED
    pool: list[IPvAnyNetwork] = []

    def nf(self, name: str) -> _chain.NetworkFunction:
        return _chain.NetworkFunction(name, self.switch, self.ingress, self.egress, self.tags)


class BalancerAttachment(Model):
    """Where an LB's two ports hang, and the address of its REST service."""

    switch: Name
    outer: str
    inner: str
    url: str


def _durations_in_schema(schema: dict[str, Any]) -> None:
    for name, field in schema["properties"].items():
        default = {"default": durations.text(field["default"])} if "default" in field else {}
        schema["properties"][name] = {**_DURATION_SCHEMA, **default}


class TimeoutsConfig(TimeoutsModel):
    """The timeouts of a segment as durations."""

    model_config = ConfigDict(json_schema_extra=_durations_in_schema)

    @field_validator("*", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return _seconds(value)

    @field_serializer("*", when_used="json")
    def _text(self, value: float) -> str:
        return durations.text(value)


class SegmentConfig(Model):
    """A pair, with the fixed NFs that everything crosses `before` its master and `after` its slave.

    Both are in forward order, on the switch of that LB. `inserted: false`: the pair is not in the way yet,
    and the segment's one chain carries everything, until it is inserted. The rest is what its master is
    started with: see `catenary lb run`. `on_full` None is `refuse` where chains rewrite, `hash` elsewhere.
    """

    master: Name
    slave: Name
    ask_id: VlanId = 4094
    before: list[Name] = []
    after: list[Name] = []
    inserted: bool = True
    timeouts: TimeoutsConfig = TimeoutsConfig()
    rewrites: bool = False
    affinity: Affinity = "session"
    policy: Literal["maglev", "p2c"] = "p2c"
    on_full: Literal["hash", "refuse"] | None = None
    slow_start: Duration = 0.0


class NetworkConfig(Model):
    """The network: read by the controller. `switches` maps names to datapath IDs."""

    switches: dict[Name, Annotated[int, Field(gt=0, lt=1 << 64)]]
    hosts: dict[Name, HostAttachment] = {}
    nfs: dict[Name, NfAttachment]
    balancers: dict[Name, BalancerAttachment]
    segments: dict[Name, SegmentConfig]
    controller_url: str = "http://127.0.0.1:8081"

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
    if not all(part.isdecimal() and len(part) < 6 for part in (low, high or low)):
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
Ports = Annotated[str, BeforeValidator(_ports_text), WithJsonSchema(_PORTS_SCHEMA)]
"""`80`, or `8000-8099`."""


class TrafficConfig(Model):
    """Traffic that enters a service: what matches all that is given, in both directions alike.

    `client` and `server` are prefixes of the two sides, `ports` those of the server (`80`, `8000-8099`),
    `vlan` a tag that the user's own frames bear.
    """

    client: list[IPvAnyNetwork] = []
    server: list[IPvAnyNetwork] = []
    protocol: Literal["tcp", "udp", "sctp", "icmp"] | None = None
    ports: list[Ports] = []
    vlan: VlanId | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.ports and self.protocol not in ("tcp", "udp", "sctp"):
            text = f"{self.protocol} has no ports" if self.protocol else "not every protocol has ports"
            refuse([Fault(("ports",), f"{text}: say protocol tcp, udp or sctp, or leave them out")])
        return self


class ServiceEntry(Model):
    """Segments that traffic crosses in a row, client side first, and which traffic that is (none: all)."""

    segments: list[Name] = Field(min_length=1)
    classifier: list[TrafficConfig] = []


class ChainConfig(Model):
    """A chain that shall be there. Tags are chosen unless given; a `cordoned` one gets no new session."""

    nfs: list[Name] = Field(min_length=1)
    segment: Name | None = None
    tags: Tags | None = None
    weight: Annotated[int, Field(ge=0, le=WEIGHT_MAX)] = WEIGHT_DEFAULT
    cordoned: bool = False


class ServiceConfig(NetworkConfig):
    """`service.yaml`: the network, and the services and chains on it.

    A segment that no service names is a service of its own name.
    """

    services: dict[Name, ServiceEntry] = {}
    chains: dict[Name, ChainConfig] = {}

    @model_validator(mode="after")
    def _served(self) -> Self:
        refuse(service_faults(self))
        return self

    def segment_of(self, chain: ChainConfig) -> str:
        """The segment of a chain: the one that it names, or the only one."""
        return chain.segment or next(iter(self.segments))

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
