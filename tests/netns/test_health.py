"""Chains that die: probes through the wire of `pair.py`, where a tag can be cut by itself."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address

import pytest

from catenary import wire
from catenary.chain import Condition
from catenary.tags import TagPair
from lb_adapter.dataplane.base import DataPlane
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from tests.isolation import isolated
from tests.netns.pair import ADDRESS, CLIENT, SERVER, LoadBalancers, Session, inside, ip, wire_up
from tests.netns.test_pair import FIRST, SECOND, add
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

PLANES: dict[str, Callable[[], DataPlane]] = {
    "ebpf": lambda: EbpfDataPlane(pins=4096),
    "af_packet": lambda: NativeDataPlane("af_packet", pins=4096, threads=1),
}
ENDS = {"client": IPv4Address("10.9.0.1"), "server": IPv4Address("10.9.0.2")}
FALL, INTERVAL = 3, 0.1
PROBES = "vlan type 0x88b5"
"""In the words of nft: what an NF drops that lets nothing pass but IP."""
BYPASS = TagPair(8, 9)
MANY = 50
"""More packets than hosts send by themselves meanwhile."""


def check(kind: str = "raw", **more: object) -> wire.HealthOrder:
    ends = {} if kind == "raw" else ENDS
    words = {"interval": INTERVAL, "timeout": 0.06, "fall": FALL, **ends, **more}
    return wire.HealthOrder(health=wire.HealthCheckModel(kind=kind, **words))


def row(lbs: LoadBalancers, tags: TagPair) -> wire.PairStats:
    return next(row for row in lbs.master_client.stats().pairs if row.forward == tags.forward)


def verdict(lbs: LoadBalancers, tags: TagPair) -> str | None:
    health = row(lbs, tags).health
    return health.verdict if health else None


def wire_through_a_bridge() -> None:
    """The drawing of `pair.py` with a bridge in the wire, which floods, and where a tag can be cut."""
    wire_up()
    ip("link", "delete", "l1i")
    ip("link", "add", "middle", "type", "bridge", "ageing_time", "0", "mcast_snooping", "0")
    for near, far in (("l1i", "m1"), ("l2i", "m2")):
        ip("link", "add", near, "type", "veth", "peer", "name", far)
        ip("link", "set", far, "master", "middle", "up")
    ip("link", "set", "middle", "up")


@contextmanager
def cut(vid: int, device: str = "m1", only: str = "") -> Iterator[None]:
    """What comes in by `device` with this tag is lost, or `only` those frames of it that match this, too.

    m1 is the master's side, m2 the slave's.
    """
    hook = f"type filter hook ingress device {device} priority 0;"
    rules = f"table netdev cut {{\n chain lost {{\n {hook}\n vlan id {vid} {only} drop\n }}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    yield
    subprocess.run(["nft", "delete", "table", "netdev", "cut"], check=True)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("kind", ["raw", "icmp", "udp", "tcp"])
@isolated
def test_probes_of_every_kind_cross_a_chain_both_ways(kind: str, plane: str) -> None:
    wire_up()
    with LoadBalancers(plane=PLANES[plane]) as lbs:
        lbs.master_client.change(add(FIRST, SECOND))
        assert lbs.master_client.put_health(check(kind)).health == check(kind).health
        wait_until(lambda: {verdict(lbs, tags) for tags in (FIRST, SECOND)} == {"up"}, "both up")
        health = row(lbs, FIRST).health
        assert health is not None
        assert 0 < (health.latency_ms or 0) < 60
        with Session() as session:
            session.talk()
            stats = lbs.master_client.stats()
            assert stats.peer is not None
            assert stats.counters["probe_returned"] >= 2
            assert stats.peer.counters["probe_turned"] >= 2
            assert sum(pair.new_sessions for pair in stats.pairs) <= 3, "the session, and its ARP"
            probed = stats.counters["probe_returned"]
            packets = sum(pair.forward_packets for pair in stats.pairs)
        assert packets < 30 + probed


@isolated
def test_a_chain_that_dies_takes_no_session_and_comes_back() -> None:
    wire_through_a_bridge()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST, SECOND))
        lbs.master_client.put_health(check())
        wait_until(lambda: verdict(lbs, FIRST) == verdict(lbs, SECOND) == "up", "both up")
        for vid, device in ((FIRST.forward, "m1"), (FIRST.reverse, "m2")):
            with cut(vid, device):
                began = time.monotonic()
                wait_until(lambda: row(lbs, FIRST).condition is Condition.DOWN, "down")
                took = time.monotonic() - began
                assert took <= FALL * INTERVAL + 0.2 + 0.1, "looked at through REST"
                assert "chains that are down: (2, 3)" in (lbs.master_client.health().reason or "")
                before = row(lbs, FIRST).new_sessions
                for _ in range(10):
                    with Session() as session:
                        session.talk()
                assert row(lbs, FIRST).new_sessions == before
                assert {p.condition for p in lbs.slave_client.pairs().pairs} == {Condition.UP, Condition.DOWN}
            wait_until(lambda: row(lbs, FIRST).condition is Condition.UP, "up again")
        assert lbs.counter("master", "affinity_mismatch") == 0


@isolated
def test_sessions_of_a_dead_chain_stay_or_move_or_are_reset() -> None:
    wire_through_a_bridge()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST))
        lbs.master_client.put_health(check(on_dead="keep"))
        wait_until(lambda: verdict(lbs, FIRST) == "up", "up")
        kept = Session()
        kept.talk()
        lbs.master_client.change(add(SECOND))
        wait_until(lambda: verdict(lbs, SECOND) == "up", "up")
        with cut(FIRST.forward):
            wait_until(lambda: row(lbs, FIRST).condition is Condition.DOWN, "down")
        wait_until(lambda: row(lbs, FIRST).condition is Condition.UP, "up again")
        kept.talk()

        lbs.master_client.put_health(check(on_dead="rebalance"))
        wait_until(lambda: verdict(lbs, FIRST) == verdict(lbs, SECOND) == "up", "both up")
        with cut(FIRST.forward):
            wait_until(lambda: row(lbs, FIRST).condition is Condition.SHUT, "shut")
            kept.talk()
            assert row(lbs, FIRST).sessions == 0
        wait_until(lambda: row(lbs, FIRST).condition is Condition.UP, "up again")
        kept.talk()
        moved = TagPair(SECOND.forward, SECOND.reverse)
        assert lbs.sessions(moved) == 1

        lbs.master_client.put_health(check(on_dead="reset"))
        wait_until(lambda: verdict(lbs, FIRST) == verdict(lbs, SECOND) == "up", "both up")
        with cut(SECOND.forward):
            wait_until(lambda: row(lbs, SECOND).condition is Condition.SHUT, "shut")
            for end in (kept.near, kept.far):
                end.sendall(b"hello")
                with pytest.raises(ConnectionResetError):
                    end.recv(5)
            with Session() as fresh:
                fresh.talk()
        assert lbs.counter("master", "ordered_reset") == 1
        kept.close()


@isolated
def test_where_no_chain_is_left_a_segment_that_fails_open_lets_pass() -> None:
    wire_through_a_bridge()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST))
        bypass = wire.PairAdd(forward=BYPASS.forward, reverse=BYPASS.reverse, bypass=True)
        lbs.master_client.change(wire.Change(add=[bypass]))
        lbs.master_client.put_health(check(on_dead="reset", when_none="fail-open"))
        wait_until(lambda: verdict(lbs, FIRST) == "up", "up")
        with Session() as session:
            session.talk()
            assert lbs.sessions(BYPASS) == 0
            with cut(FIRST.forward):
                wait_until(lambda: row(lbs, FIRST).condition is Condition.SHUT, "shut")
                assert "new sessions pass by" in (lbs.master_client.health().reason or "")
                session.near.sendall(b"hello")
                with pytest.raises(ConnectionResetError):
                    session.near.recv(5)
                passing = Session()
                passing.talk()
                assert lbs.sessions(BYPASS) == 1
        wait_until(lambda: row(lbs, FIRST).condition is Condition.UP, "up again")
        passing.talk()
        assert lbs.sessions(BYPASS) == 1, "it stays where it is"
        with Session() as fresh:
            fresh.talk()
            assert lbs.sessions(FIRST) >= 1
        passing.close()
        assert lbs.counter("master", "affinity_mismatch") == 0


@isolated
def test_where_no_chain_is_left_a_segment_that_fails_closed_drops_what_is_new() -> None:
    wire_through_a_bridge()
    with LoadBalancers() as lbs, ExitStack() as sockets:
        lbs.master_client.change(add(FIRST))
        lbs.master_client.put_health(check(when_none="fail-closed"))
        wait_until(lambda: verdict(lbs, FIRST) == "up", "up")
        kept = sockets.enter_context(Session())
        kept.talk()

        def datagrams(end: str) -> socket.socket:
            with inside(end):
                made = sockets.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            made.bind((ADDRESS[end, 4], 0))
            made.settimeout(PATIENCE_S)
            return made

        server = datagrams(SERVER)
        with cut(FIRST.forward):
            wait_until(lambda: row(lbs, FIRST).condition is Condition.DOWN, "down")
            before, new = lbs.counter("master", "drop_no_chain"), row(lbs, FIRST).new_sessions
            for _ in range(MANY):
                datagrams(CLIENT).sendto(b"while none is left", server.getsockname())
            wait_until(lambda: lbs.counter("master", "drop_no_chain") >= before + MANY, "counted")
            assert row(lbs, FIRST).new_sessions == new
        wait_until(lambda: row(lbs, FIRST).condition is Condition.UP, "up again")
        kept.talk()
        with Session() as fresh:
            fresh.talk()
        datagrams(CLIENT).sendto(b"later", server.getsockname())
        assert server.recv(100) == b"later", "and nothing before it"


@isolated
def test_probes_that_cannot_pass_are_told_and_traffic_goes_on() -> None:
    wire_through_a_bridge()
    with LoadBalancers() as lbs, cut(FIRST.reverse, "m2", only=PROBES):
        lbs.master_client.change(add(FIRST))
        lbs.master_client.put_health(check())
        with Session() as early:
            early.talk()
            wait_until(lambda: verdict(lbs, FIRST) == "unproven", "told")
            health = lbs.master_client.health()
            assert health.status == "degraded"
            assert "no probe ever came back from (2, 3)" in (health.reason or "")
            assert row(lbs, FIRST).condition is Condition.UP
            early.talk()
            with Session() as later:
                later.talk()
                assert lbs.sessions(FIRST) >= 2
            assert verdict(lbs, FIRST) == "unproven"
            assert lbs.master_client.put_health(wire.HealthOrder(health=None)).health is None
            assert lbs.master_client.health().status == "ok"
            early.talk()
