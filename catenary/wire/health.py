"""How chains are probed, and what probes say of them."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from catenary.health import FailMode, HealthCheck, Kind, OnDead
from catenary.wire.common import EXPLAINED, Model, checked

Count = Annotated[int, Strict()]
_DEFAULTS = HealthCheck()


class HealthCheckModel(Model):
    """`catenary.health.HealthCheck` on the wire, times in seconds."""

    model_config = EXPLAINED

    kind: Kind = _DEFAULTS.kind
    """what probes are: a frame that is no IP, an ICMP echo, a UDP datagram, or a TCP SYN, which is refused"""
    interval: Annotated[float, Field(strict=True)] = _DEFAULTS.interval
    """between probes of a chain; after one that was lost the next follows at once"""
    timeout: Annotated[float, Field(strict=True)] = _DEFAULTS.timeout
    """in which a probe must be back, through the chain and back through it"""
    rise: Count = _DEFAULTS.rise
    """probes in a row that must come back until a chain is up again; more, if it flaps"""
    fall: Count = _DEFAULTS.fall
    """probes in a row that must be lost until a chain is down"""
    client: IPv4Address | None = None
    """by IP: the probes' address on the clients' side, which nobody else uses"""
    server: IPv4Address | None = None
    """by IP: the same on the servers' side"""
    port: Count = _DEFAULTS.port
    """of UDP and TCP probes, on the servers' side"""
    on_dead: OnDead = _DEFAULTS.on_dead
    """what becomes of the sessions of a chain that is down: they stay, move to others, or are reset"""
    when_none: FailMode = _DEFAULTS.when_none
    """what becomes of new sessions when all chains are down: they are dropped, or pass by"""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        checked(self.check)
        return self

    def check(self) -> HealthCheck:
        return HealthCheck(**{name: getattr(self, name) for name in type(self).model_fields})

    @classmethod
    def of(cls, check: HealthCheck) -> Self:
        return cls.model_construct(**{name: getattr(check, name) for name in cls.model_fields})


class PairHealth(Model):
    """What a master's probes say of a chain. `unproven`: none ever came back, so that they say nothing."""

    model_config = EXPLAINED

    verdict: Literal["unknown", "up", "down", "unproven"]
    """as probes have it"""
    seconds: float
    """since when"""
    latency_ms: float | None = None
    """of the last probe, through the chain and back; null if it was lost"""
    answered_ms: float | None = None
    """the same of the last one that came back, however long ago; null if none did"""
    sent: int
    """probes that were judged"""
    lost: int
    """those of them that did not come back in time"""
    falls: int
    """how often it went down in the last minute"""
    row: int = 0
    """probes in a row, up to the last one, that speak against the verdict"""
    needed: int = 0
    """as many of them turn it; more than `rise` where a chain is held down because it flaps"""
