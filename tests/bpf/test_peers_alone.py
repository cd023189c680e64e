"""The rivals' program on single packets: which chain's tag it pushes, and what it remembers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether

from catenary import libbpf
from experiments.peers.alone import OBJECT, consistent, modulo, pack_table
from experiments.peers.balancing import CHAINS
from experiments.peers.balancing import Chain as AChain

REDIRECT, SHOT = 7, 2
VID = 1  # of skb->cb
PORTS = range(20_000, 20_064)


@contextmanager
def program(idle_ms: int, *, hashed: bool) -> Iterator[Bump]:
    item = libbpf.Object(OBJECT)
    try:
        yield Bump(item, idle_ms, hashed)
    finally:
        item.close()


class Bump:
    def __init__(self, item: libbpf.Object, idle_ms: int, hashed: bool) -> None:
        self._object, self._idle_ms, self._hashed, self._table = item, idle_ms, hashed, 0
        for chain in CHAINS:
            item.map("tags").set(struct.pack("=I", chain.slot), struct.pack("=I", chain.tags.forward))

    def use(self, *chains: AChain) -> None:
        self._table = 1 - self._table
        table = pack_table(modulo(chains) if self._hashed else consistent(chains))
        self._object.map("tables").set(struct.pack("=I", self._table), table)
        rules = struct.pack("=IIIII", 1, 1, self._idle_ms, chains[0].slot, self._table)
        self._object.map("rules").set(bytes(4), rules)

    def tag(self, frame: Ether) -> int:
        """The VLAN ID that a frame from outside gets."""
        run = self._object.program("outer").run(bytes(frame))
        assert run.verdict == REDIRECT
        return run.cb[VID]

    def tags(self) -> list[int]:
        return [self.tag(packet(port)) for port in PORTS]

    def inner(self, frame: Ether) -> int:
        return self._object.program("inner").run(bytes(frame)).verdict


def packet(port: int, *, back: bool = False) -> Ether:
    ends, ports = ("10.0.0.1", "10.0.0.2"), (port, 80)
    if back:
        ends, ports = ends[::-1], ports[::-1]
    return Ether() / IP(src=ends[0], dst=ends[1]) / TCP(sport=ports[0], dport=ports[1], flags="S")


@pytest.mark.parametrize("hashed", [True, False])
def test_both_directions_of_a_session_get_one_chain_and_sessions_all_chains(hashed: bool) -> None:
    with program(0, hashed=hashed) as bump:
        bump.use(*CHAINS)
        assert bump.tags() == [bump.tag(packet(port, back=True)) for port in PORTS]
        assert set(bump.tags()) == {2, 4, 6}


def test_a_table_of_sessions_keeps_what_the_hash_alone_moves() -> None:
    one, two, _ = CHAINS
    with program(60_000, hashed=False) as pinned, program(0, hashed=False) as bare:
        for bump in (pinned, bare):
            bump.use(one)
            assert set(bump.tags()) == {2}
            bump.use(one, two)
        assert set(pinned.tags()) == {2}
        assert set(bare.tags()) == {2, 4}


def test_a_session_that_was_idle_too_long_is_placed_anew() -> None:
    one, two, _ = CHAINS
    with program(1, hashed=False) as bump:  # less than a tick: idle at once
        bump.use(one)
        bump.tags()
        bump.use(two)
        assert 4 in bump.tags() + bump.tags()


def test_what_comes_out_of_a_chain_is_remembered_by_its_hash_and_not_by_its_tag() -> None:
    one, two, _ = CHAINS
    with program(60_000, hashed=False) as bump:
        bump.use(one)
        frame = packet(PORTS[0])
        tagged = Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=two.tags.reverse) / frame.payload
        assert bump.inner(tagged) == REDIRECT
        bump.use(two)
        assert bump.tag(packet(PORTS[0], back=True)) == one.tags.forward
        assert bump.inner(packet(PORTS[1])) == SHOT, "it has no tag"


def test_what_is_no_session_goes_to_the_designated_chain() -> None:
    with program(0, hashed=True) as bump:
        bump.use(*CHAINS)
        assert bump.tag(Ether(dst="ff:ff:ff:ff:ff:ff", type=0x9000) / (b"\0" * 50)) == 2
