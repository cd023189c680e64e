"""Load balancers as a user starts them, `catenary lb run`, between client and server of a `Network`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from catenary import wire
from catenary.part_clients import BalancerClient
from catenary.tags import TagPair
from experiments.bench.net import Network
from topologies.patience import PATIENCE_S
from topologies.services import Service, Services

ASK = 4094
MASTER_PORT, SLAVE_PORT = 8082, 8083
SLAVE_URL = f"http://127.0.0.1:{SLAVE_PORT}"
CHAINS = tuple(TagPair(2 * i, 2 * i + 1) for i in range(1, 4))
MASTER = (
    f"lb run --role master --outer l1o --inner l1i --port {MASTER_PORT} --ask-id {ASK} --peer {SLAVE_URL}"
)
SLAVE = f"lb run --role slave --outer l2o --inner l2i --port {SLAVE_PORT}"


class Pair:
    """The processes and REST clients of both, and what the benchmarks ask of them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        master = f"http://127.0.0.1:{MASTER_PORT}"
        self.master = BalancerClient(master, what="master", timeout=PATIENCE_S)
        self.slave = BalancerClient(SLAVE_URL, what="slave", timeout=PATIENCE_S)

    def add(self, chains: Sequence[TagPair]) -> None:
        adds = [wire.PairAdd(forward=tags.forward, reverse=tags.reverse) for tags in chains]
        self.master.change(wire.Change(add=adds))

    def counters(self) -> tuple[dict[str, int], dict[str, int]]:
        """By reason, of master and slave."""
        return self.master.stats().counters, self.slave.stats().counters

    def connected(self) -> bool:
        return self.master.health().peer.connected


def commands(master: str = "", slave: str = "") -> tuple[str, str]:
    """What a user types: the slave's line and the master's, with options of their own."""
    return f"{SLAVE} {slave}".strip(), f"{MASTER} {master}".strip()


@contextmanager
def pair(
    network: Network, *, master: str = "", slave: str = "", chains: Sequence[TagPair] = CHAINS
) -> Iterator[Pair]:
    """Both load balancers on the network's bumps, with `chains`; `master` and `slave` are more options."""
    services = Services()
    pair = Pair(services)
    slave_line, master_line = commands(master, slave)
    with ExitStack() as undo:
        undo.callback(pair.master.close)
        undo.callback(pair.slave.close)
        undo.callback(services.stop_all)
        for name, line, ready in (
            ("slave", slave_line, lambda: bool(pair.slave.health().status)),
            ("master", master_line, pair.connected),
        ):
            services.start(Service(name, network.root, "lb_adapter", tuple(line.split()), ready))
        services.wait_ready()
        pair.add(chains)
        yield pair
