"""Finds the load balancer that sees a chain, and passes on what it captures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from catenary.errors import Conflict
from mgmt_system import admission
from mgmt_system.current import Current
from mgmt_system.peers import Peers
from mgmt_system.store.ledger import Ledger

At = Literal["master", "slave"]


@dataclass(frozen=True)
class Captures:
    """The ledger has the chains' tags."""

    peers: Peers
    network: Current
    ledger: Ledger

    async def begin(
        self, chain: str, at: At, key: str | None, seconds: float, packets: int
    ) -> AsyncIterator[bytes]:
        """The pcap as it comes; it has begun when this returns. Raises what the load balancer raises."""
        record = admission.find(chain, self.ledger.snapshot().chains)
        config = self.network.segments[record.segment]
        if not record.carrying:
            raise Conflict(f"chain {chain!r} is {record.state}: capture one that carries sessions")
        balancer = self.peers.balancers[config.master if at == "master" else config.slave]
        pieces = balancer.capture(record.chain.tags, key=key, seconds=seconds, packets=packets)
        return _on(await anext(pieces), pieces)


async def _on(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece
