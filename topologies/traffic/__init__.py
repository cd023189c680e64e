"""Real traffic for a testbed: servers and clients as small classes with start, stop and a result.

All of them run on a `topologies.hosts.Host`:

- `WebServer(h2)`: nginx with files of several sizes.   `ByteServer(h1)`: a small server that needs no files.
- `Transfers(h1, url, parallel=...)`: closed loop; a new TCP session a request; counts each failure.
- `Talks(h1, h2, ...)`: TCP sessions that stay open and go on talking.   `ping(h1, address)`: ICMP echo.
- `Httperf(h1, ...)`: open loop at a rate.   `Iperf(h1, h2)`: plain throughput.
- `Injections(h3, url, ...)`: SQL injections in URLs, by curl.
"""

from topologies.traffic.echo import ping
from topologies.traffic.httperf import Httperf, HttperfResult
from topologies.traffic.injections import InjectionResult, Injections
from topologies.traffic.iperf import Iperf, IperfResult
from topologies.traffic.servers import ByteServer, WebServer
from topologies.traffic.talks import Talks, TalkState
from topologies.traffic.transfers import TransferResult, Transfers

__all__ = [
    "ByteServer",
    "Httperf",
    "HttperfResult",
    "InjectionResult",
    "Injections",
    "Iperf",
    "IperfResult",
    "TalkState",
    "Talks",
    "TransferResult",
    "Transfers",
    "WebServer",
    "ping",
]
