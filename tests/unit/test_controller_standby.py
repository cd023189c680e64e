"""A load balancer and its standby change places: frames walked through the rules, orders kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from catenary.config import ServiceConfig
from catenary.errors import Conflict, NotFound
from controller.network import Balancer, Network, Port
from controller.pipeline import UNTAGGED
from tests.unit.controller_walk import ASK
from tests.unit.test_controller_around import L1, L2, OUTERS, walk_of, wanted
from tests.unit.test_controller_conductor import CONFIG, ONE, World
from tests.unit.test_controller_insertion import H1, H2, MACS, fixed_network

THERE = Balancer(Port("s1", "l3-outer"), Port("s1", "l3-inner"))
FIXED = [(Port("s1", f"{name}-in"), Port("s1", f"{name}-out")) for name in ("f1", "f2")]


def with_standby() -> Network:
    return replace(fixed_network(), standbys={"l1": THERE})


def test_nothing_is_led_to_a_standby() -> None:
    walk = walk_of(wanted(with_standby()))
    assert walk.go(THERE.outer, UNTAGGED, MACS[H1]) == walk.go(THERE.outer, UNTAGGED, MACS[H2]) == []
    for vid in (2, 3, ASK):
        assert walk.go(THERE.inner, vid) == []
    assert walk.go(Port("s1", "f2-out"), UNTAGGED, MACS[H2]) == [(OUTERS[0], UNTAGGED)]


def test_it_gets_all_that_was_its_load_balancers() -> None:
    made = wanted(with_standby())
    made.exchange(["l1"])
    walk = walk_of(made)
    assert walk.go(Port("s1", "f2-out"), UNTAGGED, MACS[H2]) == [(THERE.outer, UNTAGGED)]
    assert walk.go(THERE.outer, UNTAGGED, MACS[H1]) == [(Port("s1", "f2-out"), UNTAGGED)]
    assert walk.go(THERE.inner, 2) == [(Port("s3", "n1-in"), UNTAGGED)]
    assert walk.go(Port("s3", "n1-in"), UNTAGGED) == [(THERE.inner, 3)]
    assert walk.go(L2, ASK) == [(THERE.inner, ASK)]
    assert walk.go(THERE.inner, 3) == [(L2, 3)], "an answer"


def test_the_place_that_it_left_is_cut_off() -> None:
    made = wanted(with_standby(), "l1")
    made.exchange(["l1"])
    walk = walk_of(made)
    for vid in (2, 3, ASK):
        assert walk.go(L1, vid) == []
    for host in (H1, H2):
        assert walk.go(OUTERS[0], UNTAGGED, MACS[host]) == []


def spare() -> ServiceConfig:
    """The network of the conductor's tests, its master with a standby."""
    body = CONFIG.model_dump(mode="json")
    body["balancers"]["l1"]["standby"] = {
        "outer": "l3o",
        "inner": "l3i",
        "url": "http://127.0.0.1:9",
    }
    return ServiceConfig.model_validate(body)


def rules_to(world: World, port: str) -> set[str]:
    """The cookies' kinds of the rules that name a port of the first switch."""
    return {hex(rule.cookie >> 48) for rule in world.conductor._desired("s1") if port in rule.ports()}


def test_the_order_is_kept_and_undone(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    world = World(state=state, config=spare())
    world.connect(1, 2, 3)
    world.conductor.steer("chain-1", ONE)
    for _ in range(2):
        assert world.conductor.detours.place("l1", "standby").place == "standby"
        assert rules_to(world, "l3i")
        assert not rules_to(world, "l1i")
    world.conductor.fabric.stop()
    again = World(state=state, config=spare())
    again.connect(1, 2, 3)
    assert again.conductor.detours.balancers()[0].place == "standby"
    assert not rules_to(again, "l1i")
    with pytest.raises(Conflict, match="is where its standby was, and this network has none for it"):
        again.conductor.put_network(CONFIG)
    assert again.conductor.detours.place("l1", "first").place == "first"
    assert rules_to(again, "l1i")
    again.conductor.fabric.stop()


def test_what_can_not_change_places(tmp_path: Path) -> None:
    world = World(state=tmp_path / "state.json", config=spare())
    world.connect(1, 2, 3)
    with pytest.raises(Conflict, match="load balancer 'l2' can't change places: it has no standby"):
        world.conductor.detours.place("l2", "standby")
    with pytest.raises(NotFound, match="unknown load balancer 'l9'"):
        world.conductor.detours.place("l9", "standby")
    world.conductor.fabric.stop()
