"""A management system on loopback whose load balancers are in memory, with traffic that a test sets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from catenary import wire
from catenary.callers import Callers
from catenary.tags import TagPair
from mgmt_system.rest import create
from tests.serving import serving
from tests.unit.mgmt_fakes import Site
from tests.unit.mgmt_master import FakeMaster


@dataclass
class BusyMaster(FakeMaster):
    """Counts as if each session sent `rate` bytes a second to the servers, and got ten times as many."""

    rate: float = 2_500.0
    counted: dict[int, float] = field(default_factory=dict)
    """Seconds of sessions, by forward tag."""
    last: float = field(default_factory=time.monotonic)

    def stats(self) -> wire.BalancerStats:
        found = super().stats()
        now = time.monotonic()
        for pair in found.pairs:
            passed = (now - self.last) * pair.sessions
            self.counted[pair.forward] = self.counted.get(pair.forward, 0.0) + passed
        self.last = now
        live = sum(pair.sessions for pair in found.pairs)
        states = {"opening": live // 10, "established": live - live // 10 - 3, "udp": 3, "closing": 7}
        pairs = [self._busy(pair) for pair in found.pairs]
        return found.model_copy(update={"pairs": pairs, "states": states, "pins": live + 7})

    def _busy(self, pair: wire.PairStats) -> wire.PairStats:
        seconds = self.counted[pair.forward]
        size = round(seconds * self.rate)
        update = {"new_sessions": round(seconds / 4), "forward_bytes": size, "reverse_bytes": 10 * size}
        return pair.model_copy(update=update)


class BusySite(Site):
    """Its master's pairs carry what `carry` says."""

    def __init__(self, network: str = "") -> None:
        super().__init__(network=network)
        self.busy = BusyMaster("l1", timeouts=self.master.timeouts, slave=self.slave)
        self.master = self.busy
        self.peers.balancers["l1"] = self.busy  # type: ignore[index]

    def carry(self, forward: int, sessions: int) -> None:
        """So many live sessions on the chain with that forward tag, at both load balancers."""
        pair = TagPair(forward, forward + 1)
        self.busy.sessions[pair] = self.slave.sessions[pair] = sessions


@contextmanager
def management(site: Site, callers: Callers | None = None) -> Iterator[str]:
    """Its URL."""
    with serving(create(site.running(), callers)) as url:
        yield url
