"""A splice on single frames, and the words in which a case says what went where.

No interface is touched: ports 11 (outer) and 12 (inner) are only numbers to a test run. cb[0..2] of the
skb carry (reason, VLAN ID pushed, interface) of the last frame.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from catenary import maglev
from catenary.chain import PairState
from catenary.session import End, SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter import abi
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.dataplane.base import Policy, Role, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane

OUTER, INNER, ASK = 11, 12, 4094
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
SHOT, REDIRECT = 2, 7
PAIRS = (TagPair(2, 3), TagPair(4, 5), TagPair(6, 7))
REASON_NAMES = {value: name for name, value in abi.REASONS.items()}
HOURS = Timeouts(lease=3600, tcp_established=7200)
KEY = SessionKey.of(End(ip_address("10.0.0.1"), 1000), End(ip_address("10.0.0.2"), 80), 6)
"""Of `tcp()`."""


def table(*pairs: TagPair, generation: int = 1, state: PairState = PairState.ACTIVE) -> ChainTable:
    rows = tuple(Pair(tags, slot, generation, 100, 100, state, 0.0) for slot, tags in enumerate(pairs))
    return ChainTable(1, rows, {row.slot: generation for row in rows})


def count_by_tag(bench: Bench, ports: range) -> dict[int, int]:
    counts: dict[int, int] = {}
    for port in ports:
        tag = bench.outer(tcp(port))[1]
        counts[tag] = counts.get(tag, 0) + 1
    return counts


class Bench:
    """A splice under test, with the frames' words: what went where."""

    def __init__(self, role: Role, timeouts: Timeouts = HOURS) -> None:
        self.plane = EbpfDataPlane(pins=1024)
        self.role = role
        self.configure(timeouts)  # the plain hash unless a test says otherwise
        self.plane.apply(table(*PAIRS))

    def configure(self, timeouts: Timeouts, policy: Policy = "maglev", **options: Any) -> None:
        config = SpliceConfig(self.role, "outer", "inner", ASK, timeouts, policy=policy, **options)
        self.plane.configure(config, outer=OUTER, inner=INNER)

    def outer(self, frame: Packet) -> tuple[str, int, int]:
        """(reason, tag, port) of a frame into the outer port; port 0 is a drop."""
        return self._run("outer", bytes(frame))

    def inner(self, vid: int, frame: Packet) -> tuple[str, int, int]:
        """The same for a frame into the inner port, tagged with `vid`."""
        raw = bytes(frame)
        return self._run("inner", raw[:12] + struct.pack("!HH", 0x8100, vid) + raw[12:])

    def _run(self, program: str, frame: bytes) -> tuple[str, int, int]:
        run = self.plane.object.program(program).run(frame)
        reason = REASON_NAMES[run.cb[0]]
        if run.verdict == SHOT:
            return reason, 0, 0
        assert run.verdict == REDIRECT
        self.out = run.frame
        return reason, run.cb[1], run.cb[2]

    def count(self, reason: str) -> int:
        return self.plane.counters()[reason]


def tcp(port: int = 1000, flags: str = "S", reverse: bool = False, v6: bool = False) -> Packet:
    client, server = ("fd00::1", "fd00::2") if v6 else ("10.0.0.1", "10.0.0.2")
    ip = IPv6 if v6 else IP
    if reverse:
        return Ether(**MACS) / ip(src=server, dst=client) / TCP(sport=80, dport=port, flags=flags)
    return Ether(**MACS) / ip(src=client, dst=server) / TCP(sport=port, dport=80, flags=flags)


FILLED = maglev.fill({slot: (tags.path, 100) for slot, tags in enumerate(PAIRS)})


def expected_tags(port: int) -> TagPair:
    key = SessionKey.of(End(ip_address("10.0.0.1"), port), End(ip_address("10.0.0.2"), 80), 6)
    return PAIRS[int(FILLED[maglev.index(key.hash64())])]
