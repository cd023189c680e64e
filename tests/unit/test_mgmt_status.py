"""The status page and what it must not claim: other settings, silence, another chain's sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catenary import wire
from catenary.errors import Conflict, Unavailable
from catenary.tags import TagPair
from mgmt_system.status import StatusPage
from tests.unit.mgmt_fakes import Site, network_text

KEY = "tcp 10.0.0.1:4000 10.0.0.2:80"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def status(site: Site) -> wire.StatusView:
    page = StatusPage(site.peers, site.network)
    try:
        return page.gather(site.manager.chains())
    finally:
        page.close()


def test_a_master_with_other_settings_than_the_network_file_is_not_well(site: Site) -> None:
    assert all(service.ok for service in status(site).services)
    site.master.timeouts = site.master.timeouts.model_copy(update={"udp": 30.0})
    site.master.ask_id, site.master.rewrites = 4000, True
    services = {service.name: service for service in status(site).services}
    assert services["l2"].ok
    assert not services["l1"].ok
    reason = str(services["l1"].reason)
    assert "udp 30 s, not 120 s (--udp), ask_id 4000, not 4094 (--ask-id)" in reason
    assert "rewrites true, not false (--rewrites)" in reason


def test_a_slave_where_the_master_should_be_is_told_nothing(site: Site) -> None:
    site.master.role = "slave"
    site.add("n1", name="chain-1")
    for _ in range(3):
        site.step()
    reason = (
        "load balancer l1 is the slave of segment 'main', and should be the master of 'main': see its url in "
        "the network file, and --role and --segment that it runs with"
    )
    assert {service.name: service.reason for service in status(site).services}["l1"] == reason
    assert "change" not in site.master.calls
    assert site.manager.chain("chain-1").reason == reason
    assert {"l1": (None, reason)} in [entry.event.changes for entry in site.ledger.entries(1, 99)]
    site.master.role = "master"
    site.settle()
    assert site.states() == {"chain-1": "active"}


def test_a_slave_is_known_by_its_master_and_asked_only_if_that_does_not_tell(site: Site) -> None:
    def well() -> dict[str, bool]:
        site.slave.calls.clear()
        return {service.name: service.ok for service in status(site).services}

    assert status(site).counters["l2"] == {"passed": 7}
    assert well() == {"controller": True, "l1": True, "l2": True}
    assert site.slave.calls.count("stats") == 1, "the master asked it, and nobody else"
    alone = site.master.stats().model_copy(update={"peer": None})
    site.master.stats = lambda: alone  # type: ignore[method-assign]
    assert (well()["l2"], site.slave.calls.count("stats")) == (True, 1)
    del site.master.stats
    site.master.down = True
    assert well() == {"controller": True, "l1": False, "l2": True}
    site.slave.down = True
    assert well() == {"controller": True, "l1": False, "l2": False}


def test_whether_a_pair_is_inserted_is_unknown_while_the_controller_is_silent(site: Site) -> None:
    site.controller.down = True
    assert [segment.inserted for segment in status(site).segments] == [True]
    plain = Site(network=network_text().replace("main: {", "main: {inserted: false, "))
    plain.controller.inserted = {"main": 5.0}
    assert [segment.inserted for segment in status(plain).segments] == [True]
    plain.controller.down = True
    assert [segment.inserted for segment in status(plain).segments] == [None]
    plain.close()


def test_a_chain_that_failed_has_no_sessions_though_another_has_its_tags(site: Site) -> None:
    def no_path(call: str, after: bool) -> None:
        if call == "steer" and not after:
            raise Conflict("no path")

    site.controller.fault = no_path
    site.add("n1", name="bad")
    site.settle()
    site.controller.fault = lambda call, after: None
    site.add("n2", name="good")
    site.settle()
    [pair] = site.master.states
    assert pair == TagPair(2, 3)
    site.master.sessions[pair], site.master.keys[KEY] = 7, pair
    assert {chain.name: chain.sessions for chain in status(site).chains} == {"bad": None, "good": 7}
    sessions = site.sessions
    assert sessions.show(KEY, None).chain == "good"


def test_weights_that_hold_are_on_record_though_the_sessions_could_not_be_moved(site: Site) -> None:
    site.add("n1")
    site.settle()
    rebalance = site.master.rebalance

    def fails_to_sweep(request: wire.Rebalance) -> wire.Rebalanced:
        done = rebalance(request)
        if request.move_idle is not None:
            raise Unavailable("l2 can't be reached")
        return done

    site.master.rebalance = fails_to_sweep  # type: ignore[method-assign]
    weights = [wire.PairAdd(forward=2, reverse=3, weight=7)]
    with pytest.raises(Unavailable):
        site.manager.rebalance(wire.Rebalance(weights=weights, move_idle=60))
    assert site.master.weights == {TagPair(2, 3): 7}
    assert site.manager.chain("chain-1").weight == 7
