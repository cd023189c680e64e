"""One load balancer pair under real TCP in namespaces; the drawing is in `pair.py`."""

from __future__ import annotations

import re
import socket
import time

import httpx
import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.errors import CatenaryError, Conflict, InvalidValue, NotFound, Unavailable
from catenary.tags import TagPair
from tests.isolation import isolated
from tests.netns.pair import ADDRESS, CLIENT, SERVER, SHORT, LoadBalancers, Session, inside, wire_up
from topologies.services import wait_until

FIRST, SECOND, THIRD = TagPair(2, 3), TagPair(4, 5), TagPair(6, 7)


def add(*pairs: TagPair) -> wire.Change:
    return wire.Change(add=[wire.PairAdd(forward=p.forward, reverse=p.reverse) for p in pairs])


def remove(*pairs: TagPair) -> wire.Change:
    return wire.Change(remove=[wire.Tags.of(p) for p in pairs])


@isolated
def test_sessions_of_both_sides_and_both_families_survive_every_change() -> None:
    wire_up()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST))
        sessions = [Session(opener, family) for opener in (CLIENT, SERVER) for family in (4, 6)]
        for change in (add(SECOND), add(THIRD), remove(FIRST)):
            lbs.master_client.change(change)
            for session in sessions:
                session.talk()
            sessions.append(Session(CLIENT))
            sessions.append(Session(SERVER))
        for session in sessions:
            session.talk()
        assert lbs.counter("slave", "ask_sent") > 0, "the server's sessions asked"
        assert lbs.counter("master", "affinity_mismatch") == 0
        assert lbs.counter("slave", "affinity_mismatch") == 0
        for session in sessions:
            session.close()


@isolated
def test_removed_chain_keeps_its_sessions_and_is_drained_when_they_are_gone() -> None:
    wire_up()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST))
        session = Session()
        lbs.master_client.change(add(SECOND))
        lbs.master_client.change(remove(FIRST))
        for _ in range(20):
            with Session():
                pass
        assert lbs.master_client.activity(FIRST).active
        session.talk()
        new = {row.forward: row.new_sessions for row in lbs.master_client.stats().pairs}
        assert new[SECOND.forward] >= 20
        assert lbs.master_client.activity(FIRST).state is PairState.COOLING
        session.close()
        wait_until(lambda: not lbs.master_client.activity(FIRST).active, "drained")
        assert not lbs.slave_client.activity(FIRST).active
        forgotten = time.monotonic()
        lbs.master_client.change(wire.Change(forget=[wire.Tags.of(FIRST)]))
        assert [p.forward for p in lbs.master_client.pairs().pairs] == [SECOND.forward]
        assert [p.forward for p in lbs.slave_client.pairs().pairs] == [SECOND.forward]
        wait_until(lambda: accepted(lbs, add(FIRST)), "the IDs have rested")
        assert time.monotonic() - forgotten >= 2 * SHORT.transit
        generation = {p.forward: p.generation for p in lbs.master_client.pairs().pairs}
        assert generation[FIRST.forward] == 2


@isolated
def test_a_cancelled_removal_gives_the_chain_new_sessions_again() -> None:
    wire_up()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST, SECOND))
        held = [Session() for _ in range(8)]
        lbs.master_client.change(remove(FIRST))
        lbs.master_client.change(wire.Change(cancel=[wire.Tags.of(FIRST)]))
        before = {row.forward: row.new_sessions for row in lbs.master_client.stats().pairs}
        held += [Session() for _ in range(20)]
        after = {row.forward: row.new_sessions for row in lbs.master_client.stats().pairs}
        assert after[FIRST.forward] > before[FIRST.forward]
        for session in held:
            session.talk()
        assert lbs.counter("master", "affinity_mismatch") == 0
        assert lbs.counter("slave", "affinity_mismatch") == 0
        for session in held:
            session.close()


def accepted(lbs: LoadBalancers, change: wire.Change) -> bool:
    try:
        lbs.master_client.change(change)
    except Unavailable as error:
        if not re.search("VLAN ID 2 .* rests", error.detail):
            raise
        return False
    return True


@isolated
def test_lapsed_lease_asks_again_and_comes_back_to_its_chain() -> None:
    wire_up()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST, SECOND, THIRD))
        sessions = [Session() for _ in range(12)]
        wait_until(lambda: not any(row.sessions for row in lbs.slave_client.stats().pairs), "leases lapse")
        for session in sessions:
            session.far.sendall(b"hello")
            assert session.near.recv(5) == b"hello"
        assert lbs.counter("slave", "hint_sent") >= 12
        assert lbs.counter("master", "affinity_mismatch") == 0
        for session in sessions:
            session.close()


@isolated
def test_statistics_of_the_master_include_its_slave_and_rebalance_changes_new_shares() -> None:
    wire_up()
    with LoadBalancers() as lbs:
        lbs.master_client.change(add(FIRST, SECOND))
        held = [Session() for _ in range(20)]
        stats = lbs.master_client.stats()
        assert stats.peer is not None
        assert stats.peer.role == "slave"
        assert sum(row.new_sessions for row in stats.pairs) >= 20
        assert sum(row.sessions for row in stats.pairs) >= 20
        assert all(row.forward_bytes and row.reverse_bytes for row in stats.pairs)
        weights = [wire.PairAdd(forward=2, reverse=3, weight=0), wire.PairAdd(forward=4, reverse=5)]
        lbs.master_client.rebalance(wire.Rebalance(weights=weights))
        before = {row.forward: row.new_sessions for row in lbs.master_client.stats().pairs}
        for _ in range(10):
            with Session():
                pass
        after = {row.forward: row.new_sessions for row in lbs.master_client.stats().pairs}
        assert after[2] == before[2], "cordoned: no new session"
        assert after[4] >= before[4] + 10
        for session in held:
            session.talk()
            session.close()


@isolated
def test_change_waits_for_the_slave_and_a_slave_that_starts_late_is_told_everything() -> None:
    wire_up()
    with LoadBalancers(with_slave=False) as lbs:
        with pytest.raises(Unavailable, match=r"slave at http://127\.0\.0\.1:8083"):
            lbs.master_client.change(add(FIRST))
        assert lbs.master_client.pairs().pairs == []
        assert lbs.master_client.health().status == "degraded"
        lbs.start_slave()
        wait_until(lambda: lbs.master_client.health().status == "ok", "handshake")
        lbs.master_client.change(add(FIRST))
        with Session(SERVER) as session:
            session.talk()


@isolated
def test_bad_input_is_refused_and_changes_nothing() -> None:
    wire_up()
    with LoadBalancers() as lbs:
        before = lbs.master_client.change(add(FIRST))
        cases: list[tuple[wire.Change, type[CatenaryError], str]] = [
            (add(TagPair(3, 9)), Conflict, "VLAN ID 3"),
            (add(TagPair(4094, 9)), Conflict, "VLAN ID 4094"),
            (remove(SECOND), NotFound, r"\(4, 5\)"),
            (wire.Change(forget=[wire.Tags.of(FIRST)]), Conflict, "active, not drained"),
            (wire.Change(expect_epoch=99), Conflict, "99"),
            (wire.Change(add=add(SECOND).add, remove=remove(THIRD).remove), NotFound, r"\(6, 7\)"),
        ]
        for change, error, text in cases:
            with pytest.raises(error, match=text):
                lbs.master_client.change(change)
        assert lbs.master_client.change(add(FIRST)) == before, "the same again is no change"
        assert lbs.master_client.pairs() == before
        lbs.master_client.change(remove(FIRST))
        with pytest.raises(Conflict, match="already cooling"):
            lbs.master_client.change(remove(FIRST))
        with pytest.raises(InvalidValue, match="'2-x' is not a tag pair"):
            lbs.master_client.call("GET", "/v1/pairs/2-x/active", wire.PairActivity)
        url, of_json = lbs.master_client.url + "/v1/changes", {"content-type": "application/json"}
        assert httpx.post(url, content="{", timeout=5).status_code == 415
        raw = httpx.post(url, content="{", headers=of_json, timeout=5)
        assert raw.status_code == 422
        assert raw.headers["content-type"] == "application/problem+json"
        epoch = lbs.slave_client.pairs().epoch
        for wrong, text in (
            ({"epoch": 0}, "epoch 0 is older"),
            ({"epoch": epoch + 5000}, "from the future"),
            ({"segment": "other", "epoch": epoch + 1}, "segment 'other'"),
        ):
            chains = before.model_copy(update=wrong)
            with pytest.raises(Conflict, match=text):
                lbs.slave_client.put_chain_set(
                    wire.ChainSetUpdate(master_id=lbs.master.instance, chain_set=chains)
                )
        with pytest.raises(Conflict, match="greeted last, not somebody"):
            lbs.slave_client.put_chain_set(wire.ChainSetUpdate(master_id="somebody", chain_set=before))
        assert lbs.slave_client.pairs().epoch == epoch


@isolated
def test_without_a_chain_traffic_is_dropped_and_counted() -> None:
    wire_up()
    with LoadBalancers() as lbs:
        with inside(CLIENT):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with udp:
            udp.sendto(b"x", (ADDRESS[SERVER, 4], 9))
            wait_until(lambda: lbs.counter("master", "drop_no_chain") > 0, "the drop is counted")
