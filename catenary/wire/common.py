"""What the messages of all services have in common: their base, and names, tags and sessions in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict

from catenary import chain as _chain
from catenary import session as _session
from catenary import tags as _tags
from catenary.chain import WEIGHT_MAX
from catenary.errors import CatenaryError

FAULTS_SHOWN = 10
T = TypeVar("T")


def checked(call: Callable[[], T]) -> T:
    """Run a validator of the vocabulary; pydantic wants its refusals as `ValueError`."""
    try:
        return call()
    except CatenaryError as error:
        raise ValueError(error.detail) from error


# The same names and tags come in thousands of messages: what was well is not judged again.
@lru_cache(maxsize=16384)
def _name(name: str) -> str:
    return checked(lambda: _chain.check_name(name))


@lru_cache(maxsize=4096)
def _vlan_id(vid: int) -> int:
    return checked(lambda: _tags.check_vlan_id(vid))


@lru_cache(maxsize=4096)
def _pair(forward: int, reverse: int) -> _tags.TagPair:
    return _tags.TagPair(forward, reverse)


Name = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_chain.NAME}$"}),
]
VlanId = Annotated[
    int,
    Strict(),
    AfterValidator(_vlan_id),
    WithJsonSchema({"type": "integer", "minimum": _tags.VLAN_ID_MIN, "maximum": _tags.VLAN_ID_MAX}),
]
SessionText = Annotated[
    str,
    AfterValidator(lambda text: checked(lambda: _session.SessionKey.parse(text)).text),
    Field(
        description="a session: PROTOCOL END END",
        examples=["tcp 10.0.0.1:4000 10.0.0.2:80", "udp [fd00::1]:53 [fd00::2]:4000 vlan=5"],
    ),
]
"""A session, written as `SessionKey.parse` reads it."""
DirectedText = Annotated[
    str,
    AfterValidator(lambda text: checked(lambda: _session.Directed.parse(text)).text),
    Field(
        description="a session: CLIENT -> SERVER/PROTOCOL, or PROTOCOL END END where the client is unknown",
        examples=["10.0.0.1:4000 -> 10.0.0.2:80/tcp", "udp [fd00::1]:53 [fd00::2]:4000 vlan=5"],
    ),
]
"""A session that is asked about, written as `Directed.parse` reads it."""


def _prefix(value: Any) -> Any:
    """Text, for a number would be an address by itself."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"{value!r} is no prefix: write it like 10.0.0.0/24") from error


Prefix = Annotated[IPvAnyNetwork, BeforeValidator(_prefix)]
Weight = Annotated[int, Strict(), Field(ge=0, le=WEIGHT_MAX)]
Share = Annotated[int, Strict(), Field(ge=1, le=50)]
"""Percent of new sessions that a canary gets."""
Affinity = Literal["session", "addresses", "client"]


class Model(BaseModel):
    """Base of all messages: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


EXPLAINED = ConfigDict(use_attribute_docstrings=True)
"""Of a model the text below whose fields is their meaning in schema and reference."""


def examples(*bodies: JsonDict) -> ConfigDict:
    """What stands as examples on the OpenAPI page."""
    return ConfigDict(json_schema_extra={"examples": [*bodies]})


class Problem(Model):
    """An error (RFC 9457), sent as `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None


class Tags(Model):
    """A tag pair."""

    model_config = EXPLAINED

    forward: VlanId
    """VLAN ID of what goes from client to server"""
    reverse: VlanId
    """VLAN ID of what goes back"""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.forward == self.reverse:
            checked(self.pair)  # which says so; both IDs have been judged
        return self

    def pair(self) -> _tags.TagPair:
        return _pair(self.forward, self.reverse)

    @classmethod
    def of(cls, pair: _tags.TagPair) -> Self:
        return cls.model_construct(forward=pair.forward, reverse=pair.reverse)  # it was judged as a pair


def explain(faults: Sequence[Any]) -> str:
    """One line of text for the `errors()` of a pydantic refusal: each place, its fault and its value.

    What is long is cut, and so is a list of many faults.
    """
    lines = []
    for item in faults[:FAULTS_SHOWN]:
        place = _cut(".".join(str(part) for part in item["loc"] if part != "body"))
        fault = _cut(item["msg"].removeprefix("Value error, "))
        value = item.get("input")
        hidden = isinstance(value, dict | list) or item["type"] in ("value_error", "refused")
        shown = "" if hidden else f" (got {_cut(repr(value))})"
        lines.append(f"{place}: {fault}{shown}" if place else f"{fault}{shown}")
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"and {len(faults) - FAULTS_SHOWN} more")
    return "; ".join(lines)


def _cut(text: str, size: int = 250) -> str:
    return text if len(text) <= size else f"{text[:size]}..."
