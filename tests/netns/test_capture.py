"""Captures at a pair of load balancers, against what was sent."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether

from catenary import pcap, wire
from catenary.errors import Conflict, NotFound
from catenary.part_clients import BalancerClient
from catenary.session import SessionKey
from lb_adapter.core.oracle import parse
from lb_adapter.daemon import CAPTURES
from lb_adapter.dataplane.native import NativeDataPlane
from tests.isolation import isolated
from tests.netns.pair import CLIENT, LoadBalancers, Session, inside, setting, wire_up
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

FORWARD, REVERSE = 2, 3
PAIR = {"forward": FORWARD, "reverse": REVERSE}


class Capture:
    """A capture that has begun: nothing that is sent from now on is missed."""

    def __init__(self, client: BalancerClient, **query: Any) -> None:
        wanted = {"pair": "2-3", "seconds": PATIENCE_S, "packets": 1000} | query
        self._pieces = client.stream("/v1/capture", silence=PATIENCE_S, **wanted)
        self._records = pcap.whole_records(self._pieces)
        assert next(self._records) == pcap.HEADER
        self.frames: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pieces.close()  # type: ignore[attr-defined]

    def until(self, enough: Callable[[], bool]) -> None:
        for record in self._records:
            self.frames.append(record[16:])
            if enough():
                return
        assert enough(), "it ended before"

    def rest(self) -> int:
        """Frames until it ends by itself."""
        self.frames += [record[16:] for record in self._records]
        return len(self.frames)

    def said(self) -> list[tuple[int, int, bytes]]:
        """VLAN ID, the sender's port and the text, of all that says something."""
        frames = [Ether(frame) for frame in self.frames]
        return [
            (frame[Dot1Q].vlan, frame[TCP].sport, bytes(frame[TCP].payload))
            for frame in frames
            if TCP in frame and bytes(frame[TCP].payload).startswith(b"say ")
        ]

    def has(self, said: tuple[int, int, bytes]) -> bool:
        return said in self.said()

    def keys(self) -> set[SessionKey | None]:
        return {parse(frame[:12] + frame[16:]).key for frame in self.frames}


def key_of(session: Session) -> SessionKey:
    ends = (session.near.getsockname()[:2], session.far.getsockname()[:2])
    (a, port), (b, other) = ((f"[{end}]" if ":" in end else end, number) for end, number in ends)
    return SessionKey.parse(f"{a}:{port} -> {b}:{other}/tcp")


def say(session: Session, text: bytes) -> list[tuple[int, int, bytes]]:
    """A line each way; what must be captured of it."""
    for a, b in ((session.near, session.far), (session.far, session.near)):
        a.sendall(text)
        assert b.recv(len(text), socket.MSG_WAITALL) == text
    ports = session.near.getsockname()[1], session.far.getsockname()[1]
    return [(FORWARD, ports[0], text), (REVERSE, ports[1], text)]


@contextmanager
def carrying() -> Iterator[LoadBalancers]:
    wire_up()
    with LoadBalancers() as pair:
        pair.master_client.change(wire.Change(add=[wire.PairAdd(**PAIR)]))
        yield pair


def captures(pair: LoadBalancers) -> None:
    """Of one session, both ways at both load balancers: all that it says, once, and nothing else."""
    with Session() as one, Session() as other, Session(family=6) as six:
        pair.master_client.change(wire.Change(add=[wire.PairAdd(forward=4, reverse=5)]))
        pair.master_client.rebalance(wire.Rebalance(weights=[wire.PairAdd(**PAIR, weight=0)]))
        with Session() as stranger:
            for wanted in (one, six):
                for client in (pair.master_client, pair.slave_client):
                    with Capture(client, key=key_of(wanted).text) as capture:
                        for session in (other, stranger, one, six):
                            say(session, b"say before")
                        expected = say(wanted, b"say this")
                        capture.until(partial(capture.has, expected[1]))
                        assert [item for item in capture.said() if item[2] == b"say this"] == expected
                        assert len(capture.said()) == 4
                        assert capture.keys() == {key_of(wanted)}
            with Capture(pair.master_client) as capture:
                say(stranger, b"say before")
                expected = [said for session in (one, other, six) for said in say(session, b"say that")]
                capture.until(partial(capture.has, expected[-1]))
                assert sorted(capture.said()) == sorted(expected)


def looks_behind_tags(pair: LoadBalancers) -> None:
    """Those that a frame had before. A SYN comes once more when its port is told that nobody listens."""
    wanted = SessionKey.parse("10.0.0.1:1 -> 10.0.0.2:2/tcp vlan=7")
    with inside(CLIENT), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("c0", 0))
        with Capture(pair.master_client, key=wanted.text, packets=1) as capture:
            for vid in (None, 8, 7):
                raw.send(_syn(vid))
            assert capture.rest() == 1
        assert capture.keys() == {wanted}


def ends(pair: LoadBalancers) -> None:
    """By its limits, or when nobody reads it any more."""
    with Session() as session:
        with Capture(pair.master_client, packets=3) as capture:
            for _ in range(3):
                say(session, b"say it")
            assert capture.rest() == 3
        with Capture(pair.master_client, seconds=0.2) as capture:
            assert capture.rest() < 1000
        running = [Capture(pair.master_client) for _ in range(CAPTURES)]
        with pytest.raises(Conflict, match=f"{CAPTURES} captures are under way here"):
            Capture(pair.master_client)
        for capture in running:
            capture.__exit__()
        wait_until(lambda: all(made.closed for made in pair.master._captures), "sockets are closed")
        with Capture(pair.master_client) as capture:
            expected = say(session, b"say on")
            capture.until(partial(capture.has, expected[1]))
        with pytest.raises(NotFound, match=r"tag pair \(6, 7\) is not known here"):
            Capture(pair.master_client, pair="6-7")


@isolated
def test_a_capture_has_what_was_said_and_nothing_else() -> None:
    with carrying() as pair:
        looks_behind_tags(pair)
        ends(pair)
        captures(pair)


@isolated
def test_it_has_that_beside_a_worker_too() -> None:
    setting.plane = partial(NativeDataPlane, "af_packet", pins=4096, threads=1)
    with carrying() as pair:
        captures(pair)


def _syn(vid: int | None) -> bytes:
    tag = Dot1Q(vlan=vid) if vid else None
    rest = IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2, flags="S")
    outer = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return bytes(outer / tag / rest if tag else outer / rest)
