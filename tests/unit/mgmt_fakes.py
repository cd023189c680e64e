"""A management system on fakes in memory, which have the promises of the real parts and no packets.

MS --> FakeController           refuses NFs without a path, forgets all when it restarts
   --> FakeMaster --> FakeSlave  pairs live active -> cooling -> closed -> drained as sessions end
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catenary import wire
from catenary.chain import ChainState
from catenary.config import ServiceConfig
from catenary.tags import TagPair
from mgmt_system.applying import Applying
from mgmt_system.crash import CrashPoint, never
from mgmt_system.current import Current
from mgmt_system.engine import Engine
from mgmt_system.journal import Retention
from mgmt_system.manager import Manager
from mgmt_system.peers import Peers
from mgmt_system.records import ChainRecord
from mgmt_system.service import Running
from mgmt_system.sessions import Sessions
from mgmt_system.status import StatusPage
from mgmt_system.store import KeyValueStore
from mgmt_system.store.ledger import Ledger
from mgmt_system.store.sqlite import SqliteStore
from mgmt_system.world import World
from tests.unit.mgmt_master import FakeMaster
from tests.unit.mgmt_parts import FakeBalancer, FakeController

NETWORK = """
switches: {s1: 1, s2: 2, s3: 3, s4: 4, s5: 5}
nfs:
  n1: {switch: s3, ingress: a, egress: b}
  n2: {switch: s4, ingress: a, egress: b}
  n3: {switch: s5, ingress: a, egress: b}
  shared: {switch: s3, ingress: c, egress: c, tags: kept}
  lonely: {switch: s5, ingress: x, egress: y}
balancers:
  l1: {switch: s1, outer: o, inner: i, url: "%(l1)s"}
  l2: {switch: s2, outer: o, inner: i, url: "%(l2)s"}
segments:
  main: {master: l1, slave: l2, timeouts: {transit: %(transit)s}}
controller_url: "%(controller)s"
"""


def network_text(
    controller: str = "http://127.0.0.1:1",
    l1: str = "http://127.0.0.1:2",
    l2: str = "http://127.0.0.1:3",
    transit: float = 0.05,
) -> str:
    return NETWORK % {"controller": controller, "l1": l1, "l2": l2, "transit": transit}


class Site:
    """Fakes, a store, and a management system on them that can crash and restart."""

    def __init__(self, path: Path | None = None, network: str = "") -> None:
        self.config = ServiceConfig.load(network or network_text())
        timeouts = self.config.segments["main"].timeouts
        self.slave = FakeBalancer("l2", timeouts=timeouts)
        self.master = FakeMaster("l1", timeouts=timeouts, slave=self.slave)
        self.controller = FakeController("controller", known=self.config.network.revision)
        self.peers = Peers(self.controller, {"l1": self.master, "l2": self.slave})
        self.path = path or Path(":memory:")
        self.store: KeyValueStore = SqliteStore(path)
        self.now = 1000.0
        self._running: Running | None = None
        self.restart()

    def restart(self, crash_point: CrashPoint = never, retention: Retention | None = None) -> None:
        """A new process on the same store."""
        self.ledger = Ledger(self.store, crash_point, self.clock, retention)
        self.network = Current(self.ledger.configured(self.config))
        world = World(self.peers, self.network, crash_point, self.clock)
        self.engine = Engine(self.ledger, self.peers, world, self.network, self.clock, self.clock)
        self.manager = Manager(
            self.ledger, self.engine, self.peers, self.network, crash_point, clock=self.clock
        )
        self.status = StatusPage(self.peers, self.network)
        self.applying = Applying(
            self.ledger, self.engine, self.manager, self.status, self.peers, self.network, crash_point
        )
        self.sessions = Sessions(self.peers, self.network, self.ledger, self.clock)

    def clock(self) -> float:
        return self.now

    def running(self) -> Running:
        """With the engine's real thread and the real clock, for the REST service; always the same one."""
        if self._running is None:
            self.ledger = Ledger(self.store, never)
            self._running = Running.build(self.config, self.ledger, lambda network, timeout: self.peers)
            self.engine, self.manager = self._running.engine, self._running.manager
        return self._running

    def settle(self, passes: int = 30) -> None:
        """Let time pass until nothing is on its way; fails if that takes more than `passes` passes."""
        for _ in range(passes):
            self.now += 1.0
            if not self.engine.settle():
                return
        raise AssertionError(f"not settled after {passes} passes: {self.states()}, {self.manager.chains()}")

    def step(self) -> None:
        self.now += 1.0
        self.engine.settle()

    def add(self, *nfs: str, **options: object) -> wire.OperationView:
        return self.manager.add(wire.ChainRequest(nfs=list(nfs), **options))

    def records(self) -> list[ChainRecord]:
        """All chains that are not removed."""
        chains = self.ledger.snapshot().chains
        return [record for record in chains if record.state is not ChainState.REMOVED]

    def master_pair(self, name: str) -> TagPair:
        """The tags of a chain, as the controller steers them."""
        return self.controller.steered[name].tags.pair()

    def states(self) -> dict[str, str]:
        return {stored.record.name: stored.record.state.value for stored in self.ledger.chains()}

    def close(self) -> None:
        self.store.close()


@contextmanager
def with_a_chain(path: Path) -> Iterator[Site]:
    """A site on that database, with an active chain; closed in the end."""
    site = Site(path)
    site.add("n1")
    site.settle()
    yield site
    site.close()
