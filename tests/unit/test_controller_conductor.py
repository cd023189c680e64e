"""Steer and unsteer against switches in memory: what is remembered, taken back, saved and told."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from catenary import wire
from catenary.config import NetworkConfig, ServiceConfig
from catenary.errors import CatenaryError, Conflict, InvalidValue, NotFound, Unavailable
from controller import statefile
from controller.conductor import Conductor
from controller.config import load_network
from controller.discovery import SETTLE
from controller.fabric import LivePort
from controller.pipeline import BASE_COOKIE, EDGE_COOKIE, CountedFlow, Flow
from controller.steering import chain_cookie
from topologies.patience import PATIENCE_S

CONFIG = ServiceConfig.model_validate(
    {
        "switches": {"s1": 1, "s2": 2, "s3": 3},
        "hosts": {"h1": {"switch": "s1", "port": "h1", "mac": "00:00:00:00:00:01"}},
        "nfs": {
            "n1": {"switch": "s3", "ingress": "n1a", "egress": "n1b"},
            "n2": {"switch": "s3", "ingress": "n2", "egress": "n2", "tags": "kept"},
        },
        "balancers": {
            "l1": {"switch": "s1", "outer": "l1o", "inner": "l1i", "url": "https://10.255.0.11:8082"},
            "l2": {"switch": "s2", "outer": "l2o", "inner": "l2i", "url": "https://10.255.0.12:8082"},
        },
        "segments": {"main": {"master": "l1", "slave": "l2"}},
    }
)
PORTS = {1: ["h1", "l1o", "l1i", "to3"], 2: ["l2o", "l2i", "to3"], 3: ["n1a", "n1b", "n2", "to1", "to2"]}
ONE = wire.SteerRequest(segment="main", tags=wire.Tags(forward=2, reverse=3), nfs=["n1"])
TWO = wire.SteerRequest(segment="main", tags=wire.Tags(forward=4, reverse=5), nfs=["n2"])


class Switch:
    """A switch in memory that follows the rules of OpenFlow, or refuses everything."""

    def __init__(self, dpid: int) -> None:
        self.dpid = dpid
        self.names = list(PORTS[dpid])
        self.down: set[str] = set()
        self.held: dict[object, Flow] = {}
        self.refuses = ""
        self.writes = 0

    def ports(self) -> Mapping[str, LivePort]:
        return {name: LivePort(number, name not in self.down) for number, name in enumerate(self.names, 1)}

    def send(
        self, add: Sequence[Flow], delete: Sequence[Flow], cookie: int | None = None
    ) -> Callable[[float], None]:
        if self.refuses:
            return self._refuse
        self.writes += len(add) + len(delete)
        for flow in add:
            self.held[flow.table, flow.priority, flow.match] = flow
        gone = [flow for flow in self.held.values() if flow in delete or flow.cookie == cookie]
        for flow in gone:
            del self.held[flow.table, flow.priority, flow.match]
        return lambda timeout: None

    def _refuse(self, timeout: float) -> None:
        raise Unavailable(self.refuses)

    def flows(self, timeout: float, cookie: int | None = None) -> list[CountedFlow]:
        held = list(self.held.values())
        return [CountedFlow(flow, 1, 60) for flow in held if cookie in (None, flow.cookie)]

    def probe(self, port: LivePort) -> None:
        """Links are told by hand in these tests."""

    def cookies(self) -> set[int]:
        return {flow.cookie for flow in self.held.values()}


class World:
    """A conductor with three switches, a clock to be set, and the links s1-s3-s2."""

    def __init__(self, state: Path | None = None, config: ServiceConfig = CONFIG) -> None:
        self.now = 100.0
        self.wall = 1e9
        self.conductor = Conductor(config, state, lambda: self.now, lambda: self.wall)
        self.switches = {dpid: Switch(dpid) for dpid in PORTS}
        self.conductor.fabric.start()

    def connect(self, *dpids: int) -> None:
        fabric = self.conductor.fabric
        for dpid in dpids:
            fabric.connected(self.switches[dpid])
        deadline = time.monotonic() + PATIENCE_S
        names = {f"s{dpid}" for dpid in dpids}
        while not names <= fabric.topology().switches:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        for one, other in (((1, 4), (3, 4)), ((2, 3), (3, 5))):
            fabric.heard(one, other)
            fabric.heard(other, one)
        self.now += SETTLE

    def cookies(self) -> set[int]:
        return {cookie for switch in self.switches.values() for cookie in switch.cookies()}


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.connect(1, 2, 3)
    yield world
    world.conductor.fabric.stop()


def test_steer_and_unsteer_leave_the_switches_as_they_were(world: World) -> None:
    before = {dpid: dict(switch.held) for dpid, switch in world.switches.items()}
    assert world.cookies() == {BASE_COOKIE, EDGE_COOKIE}
    steered = world.conductor.steer("one", ONE)
    assert (steered.installed, steered.path) == (True, ["s1", "s3", "n1", "s3", "s2"])
    assert steered.cookie == chain_cookie("one")
    rules = world.conductor.rules("one")
    assert len(rules) == steered.rules
    assert all(rule.installed and rule.packets == 1 for rule in rules)
    world.conductor.steer("two", TWO)
    world.conductor.unsteer("one")
    assert chain_cookie("one") not in world.cookies()
    world.conductor.unsteer("two")
    assert {dpid: switch.held for dpid, switch in world.switches.items()} == before
    with pytest.raises(NotFound, match="'two'"):
        world.conductor.unsteer("two")


def test_nothing_is_remembered_when_a_switch_is_missing_or_refuses() -> None:
    world = World()
    with pytest.raises(Unavailable, match="s1, s2, s3"):
        world.conductor.steer("one", ONE)
    world.connect(1, 2)
    with pytest.raises(Unavailable, match="switches not connected: s3"):
        world.conductor.steer("one", ONE)
    world.connect(3)
    world.switches[3].refuses = "table full"
    with pytest.raises(CatenaryError, match="table full"):
        world.conductor.steer("one", ONE)
    world.switches[3].refuses = ""
    assert world.conductor.chains() == []
    deadline = time.monotonic() + PATIENCE_S
    while chain_cookie("one") in world.cookies():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert world.conductor.steer("one", ONE).installed
    world.conductor.fabric.stop()


def test_a_topology_that_still_changes_is_waited_for(world: World) -> None:
    world.now -= SETTLE / 2
    with pytest.raises(Unavailable, match="discovery is not finished"):
        world.conductor.check_all({"one": ONE})
    world.now += SETTLE
    world.conductor.check_all({"one": ONE})
    assert world.conductor.chains() == []


def test_a_missing_port_is_named(world: World) -> None:
    world.switches[3].names.remove("n1b")
    world.conductor.fabric.ports_changed(world.switches[3])
    world.now += SETTLE
    with pytest.raises(Unavailable, match="port n1b of switch s3"):
        world.conductor.steer("one", ONE)


def test_several_chains_are_steered_or_none(world: World) -> None:
    before = world.cookies()
    clash = TWO.model_copy(update={"tags": ONE.tags})
    with pytest.raises(Conflict, match=r"VLAN ID 2 of tag pair \(2, 3\) is in use by chain 'one'"):
        world.conductor.check_all({"one": ONE, "two": clash})
    with pytest.raises(Conflict, match=r"VLAN ID 2 of tag pair \(2, 3\) is in use by chain 'one'"):
        world.conductor.steer_all({"one": ONE, "two": clash})
    assert (world.conductor.chains(), world.cookies()) == ([], before)
    world.switches[3].refuses = "table full"
    with pytest.raises(CatenaryError, match="table full"):
        world.conductor.steer_all({"one": ONE, "two": TWO})
    assert world.conductor.chains() == []
    world.switches[3].refuses = ""
    world.conductor.steer("two", TWO)
    both = world.conductor.steer_all({"one": ONE, "two": TWO})
    assert [(chain.name, chain.installed) for chain in both] == [("one", True), ("two", True)]
    assert world.conductor.steer_all({"one": ONE, "two": TWO}) == both
    assert world.cookies() >= {chain_cookie("one"), chain_cookie("two")}


def test_the_name_of_a_chain_has_one_meaning(world: World) -> None:
    world.conductor.steer("one", ONE)
    writes = world.switches[3].writes
    assert world.conductor.steer("one", ONE).installed
    assert world.switches[3].writes > writes
    with pytest.raises(Conflict, match=r"'one' is steered already, with tags \(2, 3\)"):
        world.conductor.steer("one", TWO)


def test_a_lost_link_degrades_health(world: World) -> None:
    assert world.conductor.health().status == "ok"
    world.conductor.steer("one", ONE)
    world.switches[3].names[3] = "renamed"
    world.conductor.fabric.ports_changed(world.switches[3])
    health = world.conductor.health()
    assert health.status == "degraded"
    assert "chain one waits for port to1 of switch s3, link s1:to3-s3:to1" in str(health.reason)


def test_a_restart_wants_the_same_rules_and_touches_none(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    before = World(state)
    before.connect(1, 2, 3)
    before.conductor.steer("one", ONE)
    before.conductor.fabric.stop()

    after = World(state)
    after.switches = before.switches
    after.switches[1].send(
        [Flow(1, 10, chain_cookie("gone"), next(iter(after.switches[3].held.values())).match, ())], ()
    )
    writes = {dpid: switch.writes for dpid, switch in after.switches.items()}
    after.connect(1, 2, 3)
    assert after.conductor.chains()[0].installed
    assert {dpid: switch.writes - writes[dpid] for dpid, switch in after.switches.items()} == {
        1: 1,
        2: 0,
        3: 0,
    }
    assert chain_cookie("gone") not in after.cookies()
    after.conductor.unsteer("one")
    assert after.cookies() == {BASE_COOKIE, EDGE_COOKIE}
    after.conductor.fabric.stop()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "does not fit"),
        ('{"version": 9}', "version 9"),
        (
            '{"version": 3, "network": null, "chains": [], "inserted": {}, "asks": [SEGMENT_X]}'.replace(
                "SEGMENT_X", '{"segment": "x", "bypass": []}'
            ),
            "segment 'x'",
        ),
        (
            '{"version": 3, "network": null, "chains": [{"name": "c"}], "asks": [], "inserted": {}}',
            "does not fit",
        ),
    ],
)
def test_a_state_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    state = tmp_path / "state.json"
    state.write_text(text)
    with pytest.raises(InvalidValue, match=fault) as refused:
        Conductor(CONFIG, state)
    assert str(state) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "can't be read"),
        ("a: [", "this is not YAML"),
        ("switches: {s1: 1}", "nfs: this key is missing: add it"),
        ("{switches: {s1: 1, s2: 1}, nfs: {}, balancers: {}, segments: {}}", "share datapath ID 1"),
    ],
)
def test_a_network_file_that_does_not_fit_is_refused(tmp_path: Path, text: str | None, fault: str) -> None:
    path = tmp_path / "network.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidValue, match=fault) as refused:
        load_network(path)
    assert str(path) in str(refused.value)


# --- a pair that is inserted -----------------------------------------------------------------------------


def plain_config() -> ServiceConfig:
    main = CONFIG.segments["main"].model_copy(update={"inserted": False})
    return CONFIG.model_copy(update={"segments": {"main": main}})


def plain_world(state: Path | None) -> World:
    world = World(state, plain_config())
    world.connect(1, 2, 3)
    return world


def leads(world: World) -> str:
    """Where the edge of s1 sends what h1 says to the world: "plain", "pair" or nowhere."""
    [flow] = [
        flow
        for flow in world.switches[1].held.values()
        if flow.cookie == EDGE_COOKIE
        and flow.match.in_port == 1
        and (flow.match.eth_dst or "").startswith("01")
    ]
    return {(): "", (("push", 2), ("output", 4)): "plain", (("output", 2),): "pair"}[flow.actions]


def test_a_pair_is_inserted_once_and_stays_so_over_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    world = plain_world(state)
    assert leads(world) == ""
    with pytest.raises(Conflict, match="'main' has no chain"):
        world.conductor.insert("main")
    world.conductor.steer("one", ONE)
    assert leads(world) == "plain"
    with pytest.raises(Conflict, match="chain 'one' carries alone: insert it first"):
        world.conductor.steer("two", TWO)
    [before] = world.conductor.segments()
    assert (before.inserted, before.ago) == (False, None)

    after = world.conductor.insert("main")
    assert after.inserted
    assert after.ago is not None
    assert leads(world) == "pair"
    assert world.conductor.insert("main").inserted
    world.conductor.steer("two", TWO)
    world.conductor.fabric.stop()

    again = plain_world(state)
    assert [view.inserted for view in again.conductor.segments()] == [True]
    assert leads(again) == "pair"
    again.conductor.fabric.stop()


def test_the_age_of_an_insertion_follows_no_clock_that_is_set_forward(tmp_path: Path) -> None:
    world = plain_world(tmp_path / "state.json")
    world.conductor.steer("one", ONE)
    world.conductor.insert("main")
    world.wall += 3600
    world.now += 5
    assert [view.ago for view in world.conductor.segments()] == [5]
    world.wall -= 3599
    assert [view.ago for view in world.conductor.segments()] == [1]
    world.conductor.fabric.stop()
    again = World(tmp_path / "state.json", plain_config())
    again.wall += 30  # all that a new process has
    assert [view.ago for view in again.conductor.segments()] == [30]


def test_an_insertion_counts_only_once_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = plain_world(tmp_path / "state.json")
    world.conductor.steer("one", ONE)
    seen: list[tuple[bool, float | None]] = []

    def save(path: Path, saved: statefile.Saved) -> None:
        seen.extend((view.inserted, view.ago) for view in world.conductor.segments())
        raise CatenaryError("disk full")

    monkeypatch.setattr(statefile, "save", save)
    with pytest.raises(CatenaryError, match="disk full"):
        world.conductor.insert("main")
    assert seen == [(False, None)]
    assert [view.inserted for view in world.conductor.segments()] == [False]
    world.conductor.fabric.stop()


def test_a_state_file_with_several_chains_where_no_pair_is_in_the_way_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    world = World(state)
    world.connect(1, 2, 3)
    world.conductor.steer("one", ONE)
    world.conductor.steer("two", TWO)
    world.conductor.fabric.stop()
    with pytest.raises(InvalidValue, match="'main' has chains one, two, but its pair is not in the way"):
        World(state, plain_config())


def test_a_state_file_of_another_version_is_not_to_be_removed(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"version": 1, "chains": [], "asks": []}')
    with pytest.raises(InvalidValue, match="version 1 is unknown, this controller reads 3") as refused:
        World(state)
    assert "inserted count as not in the way" in refused.value.detail
    assert "remove" not in refused.value.detail


def test_an_insertion_that_a_switch_refuses_changes_nothing(tmp_path: Path) -> None:
    world = plain_world(tmp_path / "state.json")
    world.conductor.steer("one", ONE)
    world.switches[2].refuses = "table full"
    with pytest.raises(Unavailable, match="table full"):
        world.conductor.insert("main")
    assert [view.inserted for view in world.conductor.segments()] == [False]
    world.switches[2].refuses = ""
    deadline = time.monotonic() + PATIENCE_S
    while leads(world) != "plain":
        assert time.monotonic() < deadline
        time.sleep(0.001)
    world.conductor.fabric.stop()


def test_an_insertion_that_would_be_forgotten_is_refused() -> None:
    world = plain_world(None)
    world.conductor.steer("one", ONE)
    with pytest.raises(Conflict, match="without --state would forget it"):
        world.conductor.insert("main")
    with pytest.raises(NotFound, match="unknown segment 'x': this network has main"):
        world.conductor.insert("x")
    world.conductor.fabric.stop()


# --- another network ---------------------------------------------------------------------------------------


def changed(**sections: dict[str, object]) -> NetworkConfig:
    """The network with these entries in place of its own; None takes one away."""
    body = CONFIG.network.model_dump()
    for section, entries in sections.items():
        merged = body[section] | entries
        body[section] = {name: entry for name, entry in merged.items() if entry is not None}
    return NetworkConfig.model_validate(body)


N9 = {"switch": "s3", "ingress": "n9-in", "egress": "n9-out"}


def test_an_nf_comes_while_a_chain_is_steered_and_stays_over_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    world = World(state)
    world.connect(1, 2, 3)
    world.conductor.steer("one", ONE)
    before = world.conductor.rules("one")
    more = changed(nfs={"n9": N9})
    assert world.conductor.put_network(more, check=True).revision == CONFIG.network.revision
    assert world.conductor.put_network(more).revision == more.revision
    assert world.conductor.put_network(more).revision == more.revision, "again is no change"
    switch, deadline = world.switches[3], time.monotonic() + 5
    switch.names += ["n9-in", "n9-out"]
    world.conductor.fabric.refresh("s3")
    while not any(flow.match.in_port == 6 for flow in list(switch.held.values())):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert world.conductor.rules("one") == before
    world.conductor.fabric.stop()
    again = World(state)
    assert again.conductor.network().revision == more.revision


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        (
            {"nfs": {"n1": None}},
            "NF 'n1' is used by chain 'one', so it can't be taken away: remove the chain",
        ),
        ({"nfs": {"n1": N9}}, "NF 'n1' is used by chain 'one', so it can't be changed: remove the chain"),
        ({"switches": {"s3": 33}}, "switch 's3' is used by chain 'one', so it can't be changed"),
        ({"nfs": {"n9": N9 | {"ingress": "to1"}}}, "port s3:to1 belongs to a link that chain 'one' crosses"),
    ],
)
def test_what_a_steered_chain_uses_stays(world: World, sections: dict[str, Any], text: str) -> None:
    world.conductor.steer("one", ONE)
    before = world.conductor.network()
    for check in (True, False):
        with pytest.raises(Conflict, match=re.escape(text)):
            world.conductor.put_network(changed(**sections), check=check)
    assert world.conductor.network() == before


def test_a_switch_comes_that_was_connected_before(world: World) -> None:
    fabric = world.conductor.fabric
    switch = Switch(3)
    switch.dpid = 9
    fabric.connected(switch)
    world.conductor.put_network(changed(switches={"s9": 9}))
    deadline = time.monotonic() + 5
    while "s9" not in fabric.topology().switches:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert switch.cookies() == {BASE_COOKIE}
    world.conductor.put_network(CONFIG.network)
    assert "s9" not in fabric.topology().switches
