"""Load balancers that never talk to each other, in the kernel: the paper's Algorithm 1, and `hash % n`."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catenary import libbpf, maglev
from experiments.evaluation.play import TIMEOUTS
from experiments.peers.balancing import BALANCERS, CHAINS, Chain, Rival
from topologies.hosts import Host, inside
from topologies.testbed import Testbed

OBJECT = Path(__file__).parent / "bpf" / "alone.bpf.o"
_RULES = "=IIIII"  # struct rules
_LARGEST = maglev.SIZE
IDLE_S = TIMEOUTS.tcp_established
"""The paper's tau, the same as Catenary promises here."""


def consistent(chains: Sequence[Chain]) -> npt.NDArray[np.uint16]:
    """The entries of a table in which most keys keep their chain when others come and go."""
    return maglev.fill({chain.slot: (chain.name, 1) for chain in chains})


def modulo(chains: Sequence[Chain]) -> npt.NDArray[np.uint16]:
    """One entry a chain: hash % n."""
    return np.array([chain.slot for chain in chains], dtype=np.uint16)


def pack_table(entries: npt.NDArray[np.uint16]) -> bytes:
    """`struct table` of alone.bpf.c."""
    room = np.zeros(_LARGEST + 1, dtype=np.uint16)  # one more: the struct is a multiple of 4 bytes
    room[: len(entries)] = entries
    return struct.pack("=I", len(entries)) + room.tobytes()


class End:
    """One of the two: the programs on the ports of its host, and what they know."""

    def __init__(self, host: Host, *, forward: bool, idle_s: float) -> None:
        """`forward`: it is the clients' end, and pushes forward tags. `idle_s` 0: no table of sessions."""
        self._host = host
        self._idle_ms = round(idle_s * 1000)
        self._object = libbpf.Object(OBJECT)
        self._table = 0
        for chain in CHAINS:
            tag = chain.tags.forward if forward else chain.tags.reverse
            self._object.map("tags").set(_number(chain.slot), _number(tag))

    def attach(self) -> None:
        with inside(self._host):
            outer, inner = (socket.if_nametoindex(f"{self._host.name}-{port}") for port in ("outer", "inner"))
            self._ports = outer, inner
            for name, index in (("outer", outer), ("inner", inner)):
                self._object.program(name).attach(index)

    def use(self, table: bytes, designated: int) -> None:
        """Another table, as a whole, from one packet to the next."""
        self._table = 1 - self._table
        self._object.map("tables").set(_number(self._table), table)
        rules = struct.pack(_RULES, *self._ports, self._idle_ms, designated, self._table)
        self._object.map("rules").set(_number(0), rules)

    def sessions(self) -> int:
        """Entries of its table of sessions."""
        rows = self._object.map("active_sessions").batches()
        return sum(len(keys) for keys, _ in rows) // self._object.map("active_sessions").key_size

    def close(self) -> None:
        with inside(self._host):
            for index in self._ports:
                libbpf.detach(index)
        self._object.close()


class Alone(Rival):
    """Both ends, told at once of each change; a removed chain keeps the sessions that a table has for it."""

    consistent = True
    idle_s = 0.0

    def __init__(self, testbed: Testbed) -> None:
        super().__init__(testbed)
        self._ends: list[End] = []

    def start(self) -> None:
        super().start()
        for name in BALANCERS:
            end = End(self.testbed.hosts[name], forward=name == BALANCERS[0], idle_s=self.idle_s)
            end.attach()
            self._ends.append(end)

    def stop(self) -> None:
        for end in self._ends:
            end.close()

    def set_chains(self, chains: Sequence[Chain]) -> None:
        table = pack_table(consistent(chains) if self.consistent else modulo(chains))
        for end in self._ends:
            end.use(table, chains[0].slot)


class AlgorithmOne(Alone):
    """Algorithm 1 of the paper: a table of sessions at each end, the consistent hash on a miss."""

    idle_s = IDLE_S


class HashModulo(Alone):
    """`hash % n` at each end, without a table."""

    consistent = False


def _number(value: int) -> bytes:
    return struct.pack("=I", value)
