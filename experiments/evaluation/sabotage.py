"""Load balancers that are broken on purpose, in three ways, to see that experiments notice."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from catenary import libbpf
from catenary.tags import TagPair
from topologies.hosts import Host, inside

OBJECT = Path(__file__).parent / "bpf" / "sabotage.bpf.o"
_HANDLE = 0x5AB
_ONE_IN = 100
_Chain = TypeVar("_Chain")


class Sabotage(StrEnum):
    """`crossing`: half of the sessions return by another chain; `one-chain`: all new sessions go to one
    chain, the cordoned one if there is one; `dropping`: one frame of a hundred gets lost."""

    NONE = "none"
    CROSSING = "crossing"
    ONE_CHAIN = "one-chain"
    DROPPING = "dropping"

    def takers(self, active: Sequence[_Chain], cordoned: Sequence[_Chain]) -> Sequence[_Chain]:
        """What takes new sessions in place of the `active` chains."""
        return [*cordoned, *active][:1] if self is Sabotage.ONE_CHAIN else active

    def returns(self, chains: Sequence[TagPair]) -> dict[int, int]:
        """By reverse tag, that of the chain by which half of its sessions return; 0 stands for its own."""
        others = [*chains[1:], *chains[:1]] if self is Sabotage.CROSSING else chains
        return {
            own.reverse: other.reverse if other != own else 0
            for own, other in zip(chains, others, strict=True)
        }


class Saboteur:
    """Does it to what leaves `interface` of a load balancer's machine, the slave's inner port.

    `one-chain` is not done here: the chains are cordoned.
    """

    def __init__(self, sabotage: Sabotage, host: Host, interface: str) -> None:
        self._sabotage = sabotage
        if sabotage not in (Sabotage.CROSSING, Sabotage.DROPPING):
            return
        self._object = libbpf.Object(OBJECT)
        if sabotage is Sabotage.DROPPING:
            self._object.map("drops").set(bytes(4), struct.pack("=I", _ONE_IN))
        with inside(host):  # at the switch's end it would be too late: the switch reads before tc
            index = socket.if_nametoindex(interface)
            self._object.program("sabotage").attach(index, libbpf.EGRESS, handle=_HANDLE)

    def chains(self, present: Sequence[TagPair]) -> None:
        """These there are from now on, cordoned ones among them."""
        if self._sabotage is not Sabotage.CROSSING:
            return
        swaps = self._object.map("swaps")
        for own, other in self._sabotage.returns(present).items():
            swaps.set(struct.pack("=I", own), struct.pack("=I", other))
