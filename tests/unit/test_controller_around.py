"""A load balancer cut off, traffic led around its segment: frames walked through the rules, orders kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from catenary.config import NetworkConfig
from catenary.errors import CatenaryError, Conflict, NotFound, Unavailable
from controller.around import check_around
from controller.edge import Way, base_rules
from controller.network import Network, Port, Segment
from controller.pipeline import UNTAGGED
from controller.steering import AskPlan, around_cookie, fence_cookie, plan_asks, plan_chain
from controller.wanted import Wanted
from tests.unit.controller_walk import ASK, PAPER_TOPOLOGY, Walker, chain, network
from tests.unit.test_controller_conductor import CONFIG, ONE, World, plain_config
from tests.unit.test_controller_insertion import H1, H2, H3, MACS, fixed_network, through
from topologies.patience import PATIENCE_S

L1, L2 = Port("s1", "l1-inner"), Port("s2", "l2-inner")
OUTERS = Port("s1", "l1-outer"), Port("s2", "l2-outer")


def wanted(made: Network, *fenced: str, around: bool = False) -> Wanted:
    """One chain in one segment."""
    plan = plan_chain(made, PAPER_TOPOLOGY, chain("c", 2, "n1"), "main", [])
    asks = {"main": plan_asks(made, PAPER_TOPOLOGY, "main")}
    return Wanted(made, {"c": plan}, asks, {}, set(fenced), dict(asks) if around else {})


def walk_of(wanted: Wanted) -> Walker:
    made = wanted.network
    ports = {name: {port.name for port in made.attached() if port.switch == name} for name in made.switches}
    base = [rule for name in made.switches for rule in base_rules(made, name, ports[name])]
    return Walker(made, PAPER_TOPOLOGY, [*base, *wanted.rules(list(made.switches))])


def test_traffic_goes_around_both_load_balancers_and_crosses_fixed_nfs() -> None:
    walk = walk_of(wanted(fixed_network(), around=True))
    f1, f2 = ((Port("s1", f"{name}-in"), Port("s1", f"{name}-out")) for name in ("f1", "f2"))
    f3 = Port("s2", "f3-in"), Port("s2", "f3-out")
    assert through(walk, H1, MACS[H2], f1, f2, f3) == [(H2, UNTAGGED)]
    assert through(walk, H2, MACS[H1], f3[::-1], f2[::-1], f1[::-1]) == [(H1, UNTAGGED)]
    assert walk.go(H1, UNTAGGED, MACS[H3]) == [(H3, UNTAGGED)]


def test_a_pair_that_is_passed_by_gets_nothing_in_but_may_use_its_chains() -> None:
    walk = walk_of(wanted(fixed_network(), around=True))
    for outer in OUTERS:
        assert walk.go(outer, UNTAGGED, MACS[H2]) == walk.go(outer, UNTAGGED, MACS[H1]) == []
    assert walk.go(L1, 2) == [(Port("s3", "n1-in"), UNTAGGED)]
    assert walk.go(Port("s3", "n1-out"), UNTAGGED) == [(L2, 2)]
    assert walk.go(L2, 3) == [(Port("s3", "n1-out"), UNTAGGED)]
    assert walk.go(L2, ASK) == []  # what bears this tag now goes to the hosts


def test_a_fenced_load_balancer_is_cut_off_and_the_rest_goes_on() -> None:
    walk = walk_of(wanted(fixed_network(), "l2"))
    inner, outer = L2, OUTERS[1]
    for vid in (UNTAGGED, 2, 3, ASK, 99):
        assert walk.go(inner, vid) == walk.go(outer, vid) == []
    assert walk.go(Port("s3", "n1-out"), UNTAGGED) == []  # would go to l2
    assert walk.go(L1, 3) == []
    assert walk.go(Port("s2", "f3-in"), UNTAGGED, MACS[H1]) == []
    assert walk.go(L1, 2) == [(Port("s3", "n1-in"), UNTAGGED)]  # not its own
    assert walk.go(H1, UNTAGGED, MACS[H3]) == [(H3, UNTAGGED)]


def test_a_fence_leaves_nothing_behind() -> None:
    usual = wanted(fixed_network())
    switches = list(usual.network.switches)
    before = usual.rules(switches)
    assert set(replace(usual, fenced={"l1", "l2"}).rules(switches)) != set(before)
    assert set(replace(usual, around=usual.asks).rules(switches)) != set(before)
    assert usual.rules(switches) == before


def test_a_way_around_that_could_not_be_told_apart_is_refused() -> None:
    made = network({})
    path = plan_asks(made, PAPER_TOPOLOGY, "main")
    with pytest.raises(Conflict, match="attached to one switch"):
        check_around(made, AskPlan("main", ()), {})
    taken = {Port("s2", "l3-outer"): Way.of(path.bypass[0].out)}
    with pytest.raises(Conflict, match=f"other traffic comes to port {path.bypass[0].out}"):
        check_around(made, path, taken)
    with_other = replace(made, segments={**made.segments, "other": Segment("l1", "l2", 4000)})
    check_around(with_other, path, {Port("s2", "l3-outer"): None})


# --- orders -----------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "state.json")
    world.connect(1, 2, 3)
    world.conductor.steer("one", ONE)
    yield world
    world.conductor.fabric.stop()


def held(world: World) -> list[dict[object, object]]:
    return [dict(switch.held) for switch in world.switches.values()]


def test_orders_are_undone_without_a_trace(world: World) -> None:
    before, detours = held(world), world.conductor.detours
    for _ in range(2):  # idempotent
        assert detours.fence("l1").fenced
        detours.around("main")
    assert {fence_cookie("l1"), around_cookie("main")} <= world.cookies()
    assert fence_cookie("l2") not in world.cookies()
    assert [lb.fenced for lb in detours.balancers()] == [True, False]
    assert [segment.around for segment in world.conductor.segments()] == [True]
    for _ in range(2):
        detours.through("main")
        assert not detours.unfence("l1").fenced
    assert held(world) == before


def test_orders_outlive_the_controller_and_come_back_with_a_switch(world: World, tmp_path: Path) -> None:
    world.conductor.detours.fence("l1")
    world.conductor.detours.around("main")
    before = held(world)
    world.conductor.fabric.stop()
    after = World(tmp_path / "state.json")
    after.connect(1, 2, 3)  # empty switches
    assert held(after) == before
    after.conductor.unsteer("one")
    assert around_cookie("main") in after.cookies()
    after.conductor.fabric.stop()


def test_nothing_is_left_of_an_order_that_a_switch_refuses(world: World) -> None:
    before, detours = held(world), world.conductor.detours
    world.switches[3].refuses = "table full"
    with pytest.raises(CatenaryError, match="table full"):
        detours.around("main")
    world.switches[3].refuses = ""
    deadline = time.monotonic() + PATIENCE_S
    while held(world) != before:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    world.conductor.fabric.disconnected(world.switches[1])
    with pytest.raises(Unavailable, match="'l1' can't be fenced yet: waiting for switch s1"):
        detours.fence("l1")
    assert [lb.fenced for lb in detours.balancers()] == [False, False]


def test_what_can_not_be_ordered_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="'l9': this network has l1, l2"):
        world.conductor.detours.fence("l9")
    with pytest.raises(NotFound, match="'x': this network has main"):
        world.conductor.detours.around("x")
    forgetful = World()
    with pytest.raises(Conflict, match="without --state"):
        forgetful.conductor.detours.fence("l1")
    plain = World(tmp_path / "plain.json", plain_config())
    with pytest.raises(Conflict, match="not in the way"):
        plain.conductor.detours.around("main")


def test_links_are_told_as_the_switch_sees_them(world: World) -> None:
    def links() -> list[tuple[str, str]]:
        return [(lb.outer, lb.inner) for lb in world.conductor.detours.balancers()]

    assert links() == [("up", "up"), ("up", "up")]
    world.switches[1].names.remove("l1o")
    world.switches[1].down.add("l1i")
    world.conductor.fabric.disconnected(world.switches[2])
    assert links() == [("down", "down"), ("unknown", "unknown")]


def test_the_network_keeps_what_an_order_uses(world: World) -> None:
    world.conductor.unsteer("one")
    moved = CONFIG.balancers["l1"].model_copy(update={"outer": "h9"})
    other = NetworkConfig.model_validate(
        CONFIG.model_copy(update={"balancers": {**CONFIG.balancers, "l1": moved}}).network.model_dump()
    )
    world.conductor.detours.fence("l1")
    with pytest.raises(Conflict, match="'l1' is used by a fence: unfence it first"):
        world.conductor.put_network(other)
    world.conductor.detours.unfence("l1")
    world.conductor.detours.around("main")
    with pytest.raises(Conflict, match="'l1' is used by the way around segment 'main'"):
        world.conductor.put_network(other, check=True)
    world.conductor.detours.through("main")
    world.conductor.put_network(other)
