"""haproxy as a transparent HTTP proxy: a router that ends each client's connection and opens one of its own.

That one has the client's address (TPROXY, `usesrc clientip`), and a port out of a range of this copy alone.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from catenary.errors import Unavailable
from topologies.hosts import Host
from topologies.nfs import router
from topologies.nfs.function import NetworkFunction
from topologies.nfs.router import Side

_PORT = 8000
_RULES = """\
table ip proxy {{
  counter opened {{ }}
  counter stray {{ }}
  chain divert {{
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto tcp socket transparent 1 meta mark set 1 accept
    iifname "{ingress}" tcp dport 80 tcp flags & (syn | ack) == syn counter name opened
    iifname "{ingress}" tcp dport 80 tproxy to 127.0.0.1:{port} meta mark set 1 accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    meta l4proto icmp accept
    counter name stray drop
  }}
}}
"""
_CONFIG = """\
global
  log stderr local0 notice
defaults
  mode http
  timeout connect 10s
  timeout client 120s
  timeout server 120s
listen web
  bind 0.0.0.0:{port} transparent
  server origin {origin} source 0.0.0.0 usesrc clientip
"""
_START = """\
set -e
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
sysctl -qw net.ipv4.ip_local_port_range='{ports}'
"""
_STOP = "ip rule del fwmark 1 lookup 100; ip route flush table 100; nft delete table ip proxy"


@dataclass(frozen=True)
class ProxyCounters:
    """Packets since the start: SYNs of clients, and those of connections that are not this proxy's."""

    opened: int
    stray: int


class Haproxy(NetworkFunction):
    """The proxy on `host` from `ingress` (clients) to `egress`; `origin` is the server, ADDRESS:PORT.

    `ports` (first, last) are those that it calls from. They must be no other copy's and no client's.
    """

    def __init__(
        self, host: Host, ingress: Side, egress: Side, *, origin: str, ports: tuple[int, int]
    ) -> None:
        self.host = host
        self._sides = ingress, egress
        self._origin, self._ports = origin, ports
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Bring it up, and wait until it listens. Raises `Unavailable` with what a tool said."""
        router.start(self.host, *self._sides)
        self.host.run(["sh", "-c", _START.format(ports="{} {}".format(*self._ports))])
        self.host.run(["nft", "-f", "-"], stdin=_RULES.format(ingress=self._sides[0].port, port=_PORT))
        config = self.host.logs / f"{self.host.name}-haproxy.cfg"
        config.write_text(_CONFIG.format(port=_PORT, origin=self._origin))
        self._process = self.host.popen(
            ["haproxy", "-db", "-f", str(config)], log=f"{self.host.name}-haproxy"
        )
        deadline = time.monotonic() + 10
        while not self.host.listens(self._process, _PORT):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"haproxy on {self.host.name} does not listen: see {config.stem}.log")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it: its connections are cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.host.attempt(["sh", "-c", _STOP])
        router.stop(self.host, *self._sides)

    def counters(self) -> ProxyCounters:
        return ProxyCounters(**router.counters(self.host))
