"""What the scenarios share: a small splice, and frames between one client and one server.

All times are ms; D is 100, L 1000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from catenary.session import SessionKey
from lb_adapter.core.oracle import parse
from lb_adapter.core.oracle_pin import State, Times
from lb_adapter.core.setup import Order, Setup, Slot, Verdict
from lb_adapter.dataplane.base import TakeOver

A, B = "10.0.0.1", "10.0.0.2"
D, L = 100, 1000
TIMES = Times(
    L,
    D,
    {
        State.OTHER: 3000,
        State.UDP: 3000,
        State.OPENING: 2000,
        State.ESTABLISHED: 60000,
        State.CLOSING: 1000,
        State.NEIGHBOUR: 1500,
    },
)
SLOTS = {0: Slot(2, 3), 1: Slot(4, 5), 2: Slot(6, 7)}
SIZE = 65537


class AnySplice(Protocol):
    overflow: bool
    take_over: TakeOver
    roomy: bool

    def configure(self, setup: Setup) -> None: ...
    def outer(
        self, frame: bytes, now: int, beside: int | None = None, *, endpoint: int = 0
    ) -> tuple[Verdict, bytes]: ...
    def inner(
        self, frame: bytes, now: int, beside: int | None = None, *, slot: int | None = None
    ) -> tuple[Verdict, bytes]: ...
    def walk(self, now: int) -> None: ...
    def sweep(self, order: Order, now: int) -> tuple[int, int]: ...
    def take_in(self, key: bytes, word: int, now: int) -> None: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def entered(self) -> Mapping[int, int]: ...


Make = Callable[[Setup], AnySplice]


def entries(slot: int | None = 0) -> list[int | None]:
    return [slot] * SIZE


def setup(role: str = "master", **fields: object) -> Setup:
    """Three chains; the plain hash sends everything to chain 0."""
    plain = Setup(role, TIMES, SLOTS, entries(), 0, capacity=64)
    return replace(plain, **fields)  # type: ignore[arg-type]


def to_server(layer: Packet, tag: int | None = None) -> bytes:
    return with_tag(
        bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src=A, dst=B) / layer), tag
    )


def to_client(layer: Packet, tag: int | None = None) -> bytes:
    return with_tag(
        bytes(Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / IP(src=B, dst=A) / layer), tag
    )


def with_tag(frame: bytes, tag: int | None) -> bytes:
    return frame if tag is None else frame[:12] + b"\x81\x00" + tag.to_bytes(2, "big") + frame[12:]


def tcp(flags: str, tag: int | None = None, port: int = 1000) -> bytes:
    return to_server(TCP(sport=port, dport=80, flags=flags), tag)


def answer(flags: str, tag: int | None = None, port: int = 1000) -> bytes:
    return to_client(TCP(sport=80, dport=port, flags=flags), tag)


def said(outcome: tuple[Verdict, bytes]) -> tuple[str, int, str]:
    verdict, _ = outcome
    return verdict.port, verdict.vid, verdict.reason


def key_of(frame: bytes) -> SessionKey:
    key = parse(frame).key
    assert key is not None
    return key


CHAIN0, CHAIN1 = ("inner", 2, "to_chain"), ("inner", 4, "to_chain")
