"""How a segment sees that its chains are alive, and what becomes of the sessions of one that is not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from catenary.errors import InvalidValue

Kind = Literal["raw", "icmp", "udp", "tcp"]
OnDead = Literal["keep", "rebalance", "reset"]
FailMode = Literal["fail-closed", "fail-open"]
INTERVAL_MIN, INTERVAL_MAX = 0.02, 60.0
"""s. Below, a busy machine alone would make chains look dead."""
COUNT_MAX = 20
SLACK = 0.1
"""s by which a verdict may take longer than `fall` intervals: what follows is done within 0.2 s of them."""


@dataclass(frozen=True)
class HealthCheck:
    """A probe of each chain every `interval` s, which must be back within `timeout`.

    After `fall` that were lost in a row a chain is down, after `rise` that came back it is up. By IP,
    `client` and `server` are addresses that nobody else uses, and `port` is the server's.
    """

    kind: Kind = "raw"
    interval: float = 1.0
    timeout: float = 0.5
    rise: int = 2
    fall: int = 3
    client: IPv4Address | None = None
    server: IPv4Address | None = None
    port: int = 7
    on_dead: OnDead = "keep"
    when_none: FailMode = "fail-closed"

    def __post_init__(self) -> None:
        if not INTERVAL_MIN <= self.interval <= INTERVAL_MAX:
            raise InvalidValue(
                f"interval of {self.interval:g} s is out of bounds: use {INTERVAL_MIN:g}..{INTERVAL_MAX:g} s"
            )
        if not 0 < self.timeout <= self.interval:
            raise InvalidValue(
                f"timeout of {self.timeout:g} s does not go with an interval of {self.interval:g} s: "
                "each probe is over before the next, so give more than 0 and no more than that"
            )
        for name, count in (("rise", self.rise), ("fall", self.fall)):
            if not 1 <= count <= COUNT_MAX:
                raise InvalidValue(f"{name} of {count} is out of bounds: use 1..{COUNT_MAX} probes")
        if self.longest > self.fall * self.interval + SLACK:
            most = (self.fall - 1) * self.interval / self.fall + SLACK / self.fall
            raise InvalidValue(
                f"timeout of {self.timeout:g} s is too long to see within {self.fall} x {self.interval:g} s "
                f"that a chain is down: use {most:.3g} s at most, or a greater fall"
            )
        if not 1 <= self.port <= 65535:
            raise InvalidValue(f"port {self.port} is out of range: use 1..65535")
        self._check_ends()

    @property
    def longest(self) -> float:
        """s from a failure to the verdict: after a probe that was lost the next follows at once."""
        return self.interval + self.fall * self.timeout

    @property
    def fails_open(self) -> bool:
        """Do new sessions pass by when all chains are down?"""
        return self.when_none == "fail-open"

    def _check_ends(self) -> None:
        given = [end for end in (self.client, self.server) if end is not None]
        if self.kind == "raw" and given:
            raise InvalidValue(
                "raw probes have no addresses: leave client and server out, or use another kind"
            )
        if self.kind != "raw" and len(given) < 2:
            raise InvalidValue(
                f"{self.kind} probes need addresses that nobody else uses: give client and server, of IPv4"
            )
        if len(given) > len(set(given)):
            raise InvalidValue(f"client and server of probes are both {given[0]}: give two addresses")

    @property
    def ends(self) -> tuple[IPv4Address, IPv4Address] | None:
        """The addresses of probes by IP."""
        return (self.client, self.server) if self.client and self.server else None
