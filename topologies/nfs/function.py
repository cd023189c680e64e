"""What every network function is to those who use it: started, stopped, and asked for its alerts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from topologies.hosts import Host
from topologies.started import Started


@dataclass(frozen=True)
class Alert:
    """What an NF has found in a session: `time` (s since 1970) and `signature`, the number of the rule.

    `client` is who opened the session, `server` the other end; ports are 0 where the protocol has none.
    """

    time: float
    signature: int
    message: str
    client: str
    client_port: int
    server: str
    server_port: int


class NetworkFunction(Started):
    """An NF on `host`. `start` returns when it forwards, and raises `Unavailable` with what a tool said.

    `reads_frames`: it takes frames from a port as they are, so what sends into the port must leave nothing
    to a network card there (checksums, segmentation): the link's other end needs `ethtool -K ... tx off`.
    """

    host: Host
    reads_frames: bool = False

    def alerts(self) -> list[Alert]:
        """All since the start, by its own log; none where it raises none."""
        return []


class Bridging(NetworkFunction):
    """An NF that bridges: what enters port `ingress` (clients) leaves by `egress` (servers), and back.

    `rate_mbit` is its capacity in each direction (Mbit/s; None: what the machine gives): the bottleneck of
    its chain, the same for all NFs of this kind.
    """

    def __init__(self, host: Host, ingress: str, egress: str, *, rate_mbit: float | None = None) -> None:
        self.host = host
        self.ports = (ingress, egress)
        self._rate_mbit = rate_mbit

    def start(self) -> None:
        if self._rate_mbit is not None:
            shape = f"root tbf rate {self._rate_mbit:g}mbit burst 32kb latency 300ms"
            self.host.run(self.each_port(f"tc qdisc replace dev $port {shape}"))
        self.open()

    def stop(self) -> None:
        """Nothing passes any more. Does nothing where it does not run."""
        self.close()
        self.host.attempt(self.each_port("tc qdisc del dev $port root"))

    @abstractmethod
    def open(self) -> None:
        """Forward between the ports; returns when it does."""

    @abstractmethod
    def close(self) -> None:
        """Forward no more."""

    def take_frames(self) -> None:
        """Both ports up, and no frame in them that is left to a card to finish."""
        self.host.run(
            self.each_port("ethtool -K $port gro off rx off tx off > /dev/null && ip link set $port up")
        )

    def give_frames_back(self) -> None:
        """As the ports were."""
        self.host.attempt(self.each_port("ethtool -K $port gro on rx on tx on > /dev/null"))

    def each_port(self, command: str) -> list[str]:
        """The command line that does a shell command for each `$port`."""
        return ["sh", "-c", f"for port in {' '.join(self.ports)}; do {command} || exit; done"]


class Maker(Protocol):
    """What makes an NF for two ports of a host, with a capacity (Mbit/s; None: unlimited)."""

    def __call__(
        self, host: Host, ingress: str, egress: str, *, rate_mbit: float | None
    ) -> NetworkFunction: ...


def start_all(nfs: Iterable[NetworkFunction]) -> None:
    """All at once, for some take a second; raises what the first of those that fail has raised."""
    with ThreadPoolExecutor() as pool:
        for begun in [pool.submit(nf.start) for nf in nfs]:
            begun.result()
