"""A segment whose pair is not in the way at first: one chain carries it, and later ones wait."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from catenary.tags import TagPair
from mgmt_system import adoption
from tests.unit.mgmt_commands import commands
from tests.unit.mgmt_fakes import Site, network_text

TIMEOUTS = {"tcp_established": 30.0, "udp": 5.0, "other": 5.0, "neighbour": 5.0, "tcp_opening": 5.0}
PLAIN = network_text().replace(
    "timeouts: {", "inserted: false, timeouts: {" + ", ".join(f"{k}: {v}" for k, v in TIMEOUTS.items()) + ", "
)


def plain_site() -> Site:
    """The load balancers are down at first."""
    site = Site(network=PLAIN)
    site.controller.inserted = {"main": None}
    site.master.down = site.slave.down = True
    return site


def test_a_chain_carries_its_segment_without_load_balancers() -> None:
    site = plain_site()
    site.add("n1", name="first")
    site.settle()
    assert site.states() == {"first": "active"}
    with pytest.raises(Conflict, match="not in the way"):
        site.add("n2")
    site.manager.remove("first", force=True)
    site.settle()
    assert site.states() == {"first": "removed"}
    assert "change" not in site.master.calls


def test_an_insertion_around_a_chain_that_has_changed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = plain_site()
    site.add("n1", name="first")
    site.settle()
    site.master.down = site.slave.down = False
    read = site.manager.stored_chain("first").revision
    with commands(site, monkeypatch, capsys) as run:
        code, _, err = run(f"segment insert main --if-match {read + 1}")
        assert (code, "chain 'first' has changed since it was read" in err) == (2, True)
        assert (site.controller.inserted, "change" in site.master.calls) == ({"main": None}, False)
        assert run(f"segment insert main --if-match {read}")[0] == 0
    assert site.controller.inserted["main"] is not None


def test_an_insertion_tells_the_pair_before_the_switches() -> None:
    site = plain_site()
    with pytest.raises(Conflict, match="'main' has no active chain to go on with"):
        site.manager.insert("main")
    site.add("n1", name="first")
    site.settle()
    with pytest.raises(Unavailable, match="l1 can't be reached"):
        site.manager.insert("main")
    assert site.controller.inserted == {"main": None}
    site.master.down = site.slave.down = False
    order: list[str] = []
    site.master.fault = lambda call, after: order.append(call) if after else None
    site.controller.fault = lambda call, after: order.append(call) if after else None
    assert site.manager.insert("main").inserted
    assert order == ["change", "insert"]
    assert list(site.slave.states.values()) == [PairState.ACTIVE]
    assert site.manager.insert("main").inserted
    site.settle()
    assert order == ["change", "insert"]
    with pytest.raises(NotFound, match="unknown segment 'x': this network has main"):
        site.manager.insert("x")


def test_a_controller_with_another_network_file_is_named() -> None:
    site = plain_site()
    site.controller.inserted = {}
    with pytest.raises(Conflict, match="the controller has no segment 'main'"):
        site.manager.insert("main")


def test_a_load_balancer_that_lets_sessions_rest_for_longer_than_the_file_says_is_not_inserted() -> None:
    site = ready_site()
    site.master.timeouts = site.master.timeouts.model_copy(update={"tcp_established": 7440.0})
    with pytest.raises(Conflict, match=re.escape("tcp_established 7440 s, not 30 s (--tcp-established)")):
        site.manager.insert("main")
    assert site.controller.inserted == {"main": None}
    assert "change" not in site.master.calls


def test_a_load_balancer_that_has_another_chain_is_not_inserted() -> None:
    site = plain_site()
    site.add("n1", name="first")
    site.settle()
    site.master.down = site.slave.down = False
    site.master.change(wire.Change(add=[wire.PairAdd(forward=8, reverse=9)]))
    with pytest.raises(Conflict, match=re.escape("l1 has tag pair (8, 9) too")):
        site.manager.insert("main")
    assert site.controller.inserted == {"main": None}


def test_a_second_chain_waits_until_every_session_is_adopted() -> None:
    site = plain_site()
    site.add("n1", name="first")
    site.settle()
    site.master.down = site.slave.down = False
    site.manager.insert("main")
    adding = site.add("n2", name="second")
    site.step()
    whole = TIMEOUTS["tcp_established"] + 0.05
    assert adoption.adoption(site.network.segments["main"].timeouts) == pytest.approx(whole)
    for ago in (0.0, whole - 0.1):
        site.controller.inserted["main"] = ago
        site.step()
        second = site.manager.chain("second")
        assert second.state == "steered"
        assert f"adopts the sessions that its pair was inserted into for another {whole - ago:.1f} s" in str(
            second.reason
        )
    # What the pair has lost comes back at once: it is the only chain.
    site.master.restart_empty()
    site.step()
    assert len(site.master.states) == 1
    site.controller.inserted["main"] = whole
    site.settle()
    assert site.manager.operation(adding.id).state == "succeeded"
    assert len(site.master.states) == 2


def behind_the_look(site: Site, happen: Callable[[], object]) -> None:
    """Once, `happen` between what the engine asks the controller and what it does then."""
    pairs = site.master.pairs

    def answer() -> wire.ChainSet:
        site.master.pairs = pairs  # type: ignore[method-assign]
        answered = pairs()
        happen()
        return answered

    site.master.pairs = answer  # type: ignore[method-assign]


def ready_site() -> Site:
    """With a chain that carries all, and load balancers that wait for it."""
    site = plain_site()
    site.add("n1", name="first")
    site.settle()
    site.master.down = site.slave.down = False
    return site


def test_what_is_asked_for_after_an_insertion_is_not_decided_by_an_older_look() -> None:
    site = ready_site()
    behind_the_look(site, lambda: (site.manager.insert("main"), site.add("n2", name="second")))
    for _ in range(4):
        site.step()
        assert site.states()["second"] != "active"
    assert "adopts the sessions" in str(site.manager.chain("second").reason)

    site = ready_site()
    site.master.sessions[TagPair(2, 3)] = 1
    behind_the_look(site, lambda: (site.manager.insert("main"), site.manager.remove("first", force=True)))
    for _ in range(4):
        site.step()
        assert "first" in site.controller.steered
    assert site.states() == {"first": "cooling"}


def test_a_chain_that_was_asked_for_before_an_insertion_waits_too() -> None:
    site = ready_site()
    site.controller.down = True
    site.add("n2", name="second")
    site.controller.down = False
    behind_the_look(site, lambda: site.manager.insert("main"))
    for _ in range(4):
        site.step()
        assert site.states()["second"] in ("requested", "steered")
    assert "adopts the sessions" in str(site.manager.chain("second").reason)


def test_a_removal_that_was_cancelled_waits_beside_another_chain() -> None:
    """The only active chain is the one that every session is adopted for."""
    site = ready_site()
    site.manager.insert("main")
    site.add("n2", name="second")
    site.controller.inserted["main"] = 100.0
    site.settle()
    site.manager.remove("second", force=False)
    site.manager.cancel("second")
    site.controller.inserted["main"] = 0.0
    site.master.restart_empty()
    for _ in range(3):
        site.step()
        assert list(site.master.states) == [TagPair(2, 3)]
    site.controller.inserted["main"] = 100.0
    site.settle()
    assert len(site.master.states) == 2


def test_a_removal_is_cancelled_where_no_load_balancer_is_in_the_way() -> None:
    site = plain_site()
    site.add("n1", name="first")
    site.settle()
    site.manager.remove("first", force=True)
    operation = site.manager.cancel("first")
    site.settle()
    assert site.states() == {"first": "active"}
    assert site.manager.operation(operation.id).state == "succeeded"
    site.manager.remove("first", force=True)
    site.manager.cancel("first")
    site.manager.remove("first", force=True)
    site.settle()
    assert site.states() == {"first": "removed"}


def test_a_pair_that_may_not_be_inserted_is_told_nothing() -> None:
    site = ready_site()
    site.controller.down = True
    for _ in range(3):
        site.step()
    assert site.master.states == {}
    assert "has not said yet" in str(site.manager.chain("first").reason)
    site.controller.down = False
    site.settle()
    assert site.master.states == {}


def test_a_controller_that_forgot_an_insertion_gets_no_chain_of_several() -> None:
    site = ready_site()
    site.manager.insert("main")
    site.add("n2", name="second")
    site.controller.inserted["main"] = 100.0
    site.settle()
    site.controller.restart_empty()
    site.controller.inserted["main"] = None
    for _ in range(3):
        site.step()
    assert site.controller.steered == {}
    for name in ("first", "second"):
        reason = str(site.manager.chain(name).reason)
        assert "forgotten that the pair of segment 'main' is inserted" in reason
        assert "state file" in reason
    site.controller.inserted["main"] = 200.0
    site.settle()
    assert set(site.controller.steered) == {"first", "second"}


def test_a_fixed_nf_is_no_part_of_a_chain() -> None:
    text = (
        network_text()
        .replace("n3: {switch: s5, ", "n3: {switch: s1, ")
        .replace("main: {", "main: {before: [n3], ")
    )
    with pytest.raises(Conflict, match="NF 'n3' stands fixed at segment 'main'"):
        Site(network=text).add("n3")


def test_rebalance_of_a_segment_by_name() -> None:
    site = Site()
    assert site.manager.rebalance(wire.Rebalance(), "main").segment == "main"
    with pytest.raises(InvalidValue, match="unknown segment 'x'"):
        site.manager.rebalance(wire.Rebalance(), "x")
