"""A master that lost its session table copies its slave's, under real TCP (affinity rule 8)."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from catenary import wire
from catenary.errors import Unavailable
from catenary.session import Timeouts
from catenary.tags import TagPair
from lb_adapter.dataplane.base import DataPlane
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from tests.isolation import isolated
from tests.netns.pair import CLIENT, SERVER, LoadBalancers, Session, setting, wire_up
from tests.netns.test_sessions import chain_of
from topologies.services import wait_until

PAIRS = (TagPair(2, 3), TagPair(4, 5), TagPair(6, 7))
CALM = Timeouts(tcp_closing=1.0, lease=0.7, transit=0.5)
"""Sessions live for hours here: only the copy can know them."""


def af_packet() -> DataPlane:
    return NativeDataPlane("af_packet", pins=4096, threads=1)


def chains(lbs: LoadBalancers) -> dict[int, int]:
    return {row.forward: row.sessions for row in lbs.master_client.stats().pairs}


@isolated
def lose_the_master(plane: Callable[[], DataPlane], offloads: bool) -> None:
    setting.plane, setting.offloads = plane, offloads
    wire_up()
    with LoadBalancers(CALM) as lbs:
        add = [wire.PairAdd(forward=pair.forward, reverse=pair.reverse) for pair in PAIRS]
        lbs.master_client.change(wire.Change(add=add))
        sessions = [
            Session(opener, family) for _ in range(6) for opener in (CLIENT, SERVER) for family in (4, 6)
        ]
        for session in sessions:
            session.talk()
        before = chains(lbs)
        lbs.lose_master()
        lbs.start_master()
        wait_until(lambda: lbs.master_client.health().peer.connected, "the copy")
        for session in sessions:
            session.talk()
        with Session(SERVER) as one, Session(CLIENT) as other:
            one.talk()
            other.talk()
        assert chains(lbs).keys() == before.keys()
        assert sum(before.values()) >= len(sessions)
        for role in ("master", "slave"):
            assert lbs.counter(role, "affinity_mismatch") == 0
        assert lbs.counter("master", "orphaned") == 0
        assert lbs.counter("master", "session_placed") <= 2, "only the two new ones were placed"
        for session in sessions:
            session.close()


def test_ebpf() -> None:
    lose_the_master(lambda: EbpfDataPlane(pins=4096), True)


def test_af_packet() -> None:
    lose_the_master(af_packet, False)


@isolated
def lose_the_slave(plane: Callable[[], DataPlane], offloads: bool) -> None:
    """Where chains rewrite, a new slave is told all keys: it asks with a hint for each (rule 2)."""
    setting.plane, setting.offloads = plane, offloads
    wire_up()
    with LoadBalancers(CALM, rewrites=True) as lbs:
        add = [wire.PairAdd(forward=pair.forward, reverse=pair.reverse) for pair in PAIRS]
        lbs.master_client.change(wire.Change(add=add))
        sessions = [Session(CLIENT, family) for _ in range(6) for family in (4, 6)]
        for session in sessions:
            session.talk()
        lbs.lose_slave()
        lbs.start_slave()
        wait_until(lambda: lbs.slave_client.stats().pins >= len(sessions), "the keys at the slave")
        assert sum(row.sessions for row in lbs.slave_client.stats().pairs) == 0, "no lease is proved by them"
        for session in sessions:
            session.far.sendall(b"hello")
            assert session.near.recv(5, socket.MSG_WAITALL) == b"hello"
        assert lbs.counter("slave", "hint_sent") >= len(sessions)
        assert lbs.counter("master", "hint_refused") == 0
        assert lbs.counter("slave", "affinity_mismatch") == 0
        for session in sessions:
            session.close()


def test_ebpf_slave() -> None:
    lose_the_slave(lambda: EbpfDataPlane(pins=4096), True)


def test_af_packet_slave() -> None:
    lose_the_slave(af_packet, False)


@isolated
def test_a_slave_that_lost_its_table_asks() -> None:
    """It knows no chain of any session then, and the master knows them all (rule 8)."""
    setting.plane, setting.offloads = lambda: EbpfDataPlane(pins=4096), True
    wire_up()
    with LoadBalancers(CALM) as lbs:
        add = [wire.PairAdd(forward=pair.forward, reverse=pair.reverse) for pair in PAIRS]
        lbs.master_client.change(wire.Change(add=add))
        sessions = [Session(CLIENT, family) for _ in range(6) for family in (4, 6)]
        for session in sessions:
            session.talk()
        before = [chain_of(lbs, session) for session in sessions]
        lbs.lose_slave()
        lbs.start_slave()
        wait_until(lambda: lbs.master_client.health().peer.connected, "the slave follows")
        for session in sessions:
            session.far.sendall(b"hello")
            assert session.near.recv(5, socket.MSG_WAITALL) == b"hello"
        assert lbs.counter("slave", "ask_sent") >= len(sessions)
        assert [chain_of(lbs, session) for session in sessions] == before
        for role in ("master", "slave"):
            assert lbs.counter(role, "affinity_mismatch") == 0
        for session in sessions:
            session.close()


@isolated
def test_while_the_slave_is_away_nothing_is_placed() -> None:
    wire_up()
    with LoadBalancers(CALM, with_slave=False) as lbs:
        with pytest.raises(Unavailable, match="no session table"):
            lbs.master_client.change(wire.Change(add=[wire.PairAdd(forward=2, reverse=3)]))
        assert lbs.master_client.health().status == "degraded"
        lbs.start_slave()
        wait_until(lambda: lbs.master_client.health().peer.connected, "a slave with nothing to copy")
