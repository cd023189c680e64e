"""How a master comes to probe its chains as the configuration says."""

from __future__ import annotations

from typing import Any

import pytest

from catenary import wire
from catenary.chain import Condition
from catenary.errors import Conflict
from mgmt_system import metrics, tables
from mgmt_system.verdicts import Verdicts
from mgmt_system.views import entry_view
from tests.unit.mgmt_fakes import Site, network_text

PROBED = network_text().replace("slave: l2,", "slave: l2, health: {kind: raw},")


def test_a_master_is_told_once() -> None:
    site = Site(network=PROBED)
    site.add("n1", name="chain-1")
    site.settle()
    assert site.master.check is not None
    assert site.master.check.kind == "raw"
    assert site.master.calls.count("put_health") == 1


def test_one_that_forgot_is_told_again() -> None:
    site = Site(network=PROBED)
    site.step()
    site.master.check = None
    site.settle()
    assert site.master.check is not None


def test_one_that_adopted_a_chain_as_down_is_told_that_nobody_probes() -> None:
    site = Site()
    site.add("n1", name="chain-1")
    site.settle()
    site.master.fallen = True
    site.step()
    assert not site.master.fallen


def test_a_segment_that_fails_open_has_a_bypass() -> None:
    config = Site(network=PROBED.replace("kind: raw", "kind: raw, when_none: fail-open")).config
    assert list(config.bypasses) == ["main-bypass"]
    assert not Site(network=PROBED).config.bypasses


def test_one_that_refuses_goes_on_serving_and_is_told_again() -> None:
    site = Site(network=PROBED)

    def full(call: str, after: bool) -> None:
        if call == "put_health":
            raise Conflict("the session table of 1000 is full")

    site.add("n1", name="chain-1")
    site.settle()
    site.master.fault, site.master.check = full, None
    site.master.states.clear()
    site.master.weights.clear()
    site.settle()
    assert site.master.states, "it lost its chains, and got them back"
    assert site.master.check is None
    site.master.fault = lambda call, after: None
    site.step()
    assert site.master.check is not None


UP = wire.PairHealth(verdict="up", seconds=9.0, latency_ms=0.42, answered_ms=0.42, sent=9, lost=0, falls=0)
DOWN = wire.PairHealth(verdict="down", seconds=0.1, answered_ms=0.42, sent=12, lost=3, falls=1, needed=2)


@pytest.fixture
def probed() -> Site:
    """Two chains, which probes came back from."""
    site = Site(network=PROBED)
    site.add("n1", name="one")
    site.add("n2", name="two")
    site.settle()
    site.master.healths = dict.fromkeys(site.master.states, UP)
    site.step()
    assert not told(site)
    return site


def told(site: Site) -> list[str]:
    """What the journal says of the health of chains."""
    head = site.ledger.snapshot().head
    entries = (entry_view(entry) for entry in site.ledger.entries(head.first, head.next))
    return [tables.what(entry) for entry in entries if entry.kind == "health"]


def turn(site: Site, name: str, health: wire.PairHealth) -> None:
    site.master.healths[site.master_pair(name)] = health


def test_a_fall_and_a_rise_are_told_once_each_also_by_the_next_process(probed: Site) -> None:
    turn(probed, "one", DOWN)
    for _ in range(3):
        probed.step()
    fell = (
        "health main one, up -> down, 3 probes in a row were lost, the last that came back took 0.42 ms; "
        "it keeps its sessions (on_dead: keep); new ones go to other chains, by management system"
    )
    assert told(probed) == [fell]
    probed.restart()
    probed.step()
    assert told(probed) == [fell], "who starts again knows that it is told"
    turn(probed, "one", UP)
    probed.restart()
    probed.step()
    probed.restart()
    probed.step()
    rose = "probes come back, the last that came back took 0.42 ms; it takes new sessions"
    assert told(probed) == [fell, f"health main one, down -> up, {rose}, by management system"]
    assert not probed.ledger.snapshot().head.verdicts, "nothing is kept of what is well"


def test_what_was_not_written_down_is_told_by_the_next_process(probed: Site) -> None:
    turn(probed, "one", DOWN)
    probed.ledger.learn(probed.master.pairs())  # and it dies before it writes
    probed.restart()
    probed.step()
    assert len(told(probed)) == 1


def test_of_a_chain_that_is_gone_no_verdict_is_kept(probed: Site) -> None:
    turn(probed, "one", DOWN)
    probed.step()
    assert list(probed.ledger.snapshot().head.verdicts.values()) == ["down"]
    probed.manager.remove("one", force=True)
    probed.settle()
    probed.add("n3")  # any write
    assert not probed.ledger.snapshot().head.verdicts


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"condition": "shut", "on_dead": "reset"}, "its sessions are reset (on_dead: reset); new"),
        ({"condition": "shut", "on_dead": "rebalance"}, "its sessions move to others (on_dead: rebalance)"),
        ({"alone": True}, "no chain is left: new ones are dropped (fail-closed)"),
        ({"alone": True, "on_dead": "reset"}, "it keeps its sessions, for there is no other chain for them"),
        ({"alone": True, "bypass": 100, "when_none": "fail-open"}, "no chain is left: new ones pass by"),
        ({"needed": 8, "falls": 3}, "it fell 3 times within a minute, so 8 probes in a row must come back"),
        ({"condition": "up", "seconds": 2.5}, "nothing was done yet: see the log of the load balancer"),
        ({"verdict": "unproven", "condition": "up"}, "no probe ever came back: its traffic goes on"),
    ],
)
def test_what_followed_is_told_with_it(changes: dict[str, Any], text: str) -> None:
    assert text in verdict(**changes)


def test_nothing_is_told_while_what_follows_is_under_way() -> None:
    assert verdict(condition="up") == ""
    assert verdict(verdict="unknown") == ""


def verdict(
    condition: str = "down",
    on_dead: str = "keep",
    when_none: str = "fail-closed",
    bypass: int = 0,
    *,
    alone: bool = False,
    **health: Any,
) -> str:
    """What is told of a chain that another one stands beside, unless it is alone."""
    site = Site(network=PROBED)
    site.add("n1", name="one")
    site.settle()
    common = {"generation": 1, "state": "active"}
    pairs = [
        wire.PairView(
            **common,
            forward=2,
            reverse=3,
            slot=0,
            condition=Condition(condition),
            health=DOWN.model_copy(update=health),
        ),
        wire.PairView(**common, forward=8, reverse=9, slot=2, weight=bypass, bypass=True),
    ]
    if not alone:
        pairs.append(wire.PairView(**common, forward=4, reverse=5, slot=1))
    check = wire.HealthCheckModel(on_dead=on_dead, when_none=when_none)
    chain_set = wire.ChainSet(segment="main", epoch=9, designated=0, pairs=pairs, health=check)
    events = Verdicts({}).learn(chain_set, site.records())
    return "".join(str(event.text) for event in events)


def test_one_that_is_held_down_is_shown_so() -> None:
    assert tables.health(DOWN) == "down"
    assert tables.health(DOWN.model_copy(update={"row": 2, "needed": 8})) == "down, 2 of 8 back"


def test_a_chain_that_fell_is_not_up_for_prometheus(probed: Site) -> None:
    def up() -> dict[str, float]:
        status = probed.status.gather(probed.manager.chains())
        found = metrics.samples(probed.manager.health(), status, [], [])
        return {item.labels[0]: item.value for item in found if item.metric is metrics.UP}

    assert up() == {"one": 1, "two": 1}
    turn(probed, "two", DOWN)
    assert up() == {"one": 1, "two": 0}
    turn(probed, "two", DOWN.model_copy(update={"verdict": "unproven"}))
    assert up() == {"one": 1, "two": 1}, "its traffic goes on"
