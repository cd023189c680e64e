"""Looks at the machines of load balancers, and the orders that follow: on fakes, by a clock that is set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catenary import wire
from catenary.config import ServiceConfig
from catenary.errors import Conflict, InvalidValue
from mgmt_system.detours import FAST, STANDBY_S, Detours
from mgmt_system.gone import SILENT_S, STEADY_S
from tests.unit.mgmt_fakes import Site, network_text

OPEN = network_text().replace("slave: l2,", "slave: l2, when_lb_gone: fail-open,")


class Watched:
    """A site whose machines are looked at."""

    def __init__(self, network: str = OPEN) -> None:
        self.site = Site(network=network)
        self.site.controller.attached = ["l1", "l2"]
        self.site.master.role, self.site.master.peer, self.site.slave.peer = "master", "l2", "l1"
        self.detours = Detours(
            self.site.ledger, self.site.peers, self.site.peers, self.site.network, self.site.clock
        )

    def look(self, seconds: float = 0.0) -> None:
        """Once, and as often as it does in so many seconds."""
        for _ in range(1 + round(seconds / FAST)):
            self.site.now += FAST
            self.detours.look()

    def lose(self, *, machine: bool) -> None:
        """The slave's daemon, or its machine."""
        self.site.slave.down = True
        if machine:
            self.site.controller.unlinked.add("l2")

    def bring_back(self) -> None:
        self.site.slave.down = False
        self.site.controller.unlinked.clear()

    def status(self) -> tuple[bool, list[str]]:
        (segment,) = self.site.status.gather([]).segments
        told = self.detours.told(segment)
        return told.around, told.gone

    def journal(self) -> list[tuple[str, str]]:
        entries = self.site.ledger.entries(1, 1000)
        return [(entry.event.kind, entry.event.text or str(entry.event.changes)) for entry in entries]


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.detours.stop()


def orders(watched: Watched) -> list[str]:
    return [call for call in watched.site.controller.calls if call in ("around", "through")]


def test_traffic_is_led_around_a_machine_that_is_gone_and_through_it_again(watched: Watched) -> None:
    watched.lose(machine=True)
    watched.look(SILENT_S)
    assert (orders(watched), watched.status()) == (["around"], (True, ["l2"]))
    watched.look(10.0)
    assert orders(watched) == ["around"]
    watched.bring_back()
    watched.look(STEADY_S + FAST)
    assert (orders(watched), watched.status()) == (["around", "through"], (False, []))
    kinds = [kind for kind, _ in watched.journal()]
    assert kinds == ["fault", "around", "fault", "around"]
    assert "machine of load balancer l2 is gone" in watched.journal()[0][1]
    assert watched.journal()[1] == ("around", "l2 is gone")


def test_a_standby_has_time_to_take_the_place_first() -> None:
    """It keeps sessions in their chains; past them only if it does not."""
    spare = ', standby: {outer: o9, inner: i9, url: "http://127.0.0.1:9"}'
    lines = [
        line.replace("}", spare + "}", 1) if line.strip().startswith("l1:") else line
        for line in OPEN.split("\n")
    ]
    watched = Watched("\n".join(lines))
    assert watched.site.network.balancers["l1"].standby is not None
    watched.look()
    watched.site.master.down = True
    watched.site.controller.unlinked.add("l1")
    watched.look(STANDBY_S - FAST)
    assert watched.status() == (False, ["l1"])
    watched.look(SILENT_S + 3 * FAST)
    assert watched.status() == (True, ["l1"])
    watched.detours.stop()


def test_a_daemon_that_dies_leads_nothing_elsewhere(watched: Watched) -> None:
    watched.lose(machine=False)
    watched.look(10.0)
    assert (orders(watched), watched.status(), watched.journal()) == ([], (False, []), [])
    assert "health" not in watched.site.slave.calls  # while there are links, it does not matter


def test_a_pair_that_does_not_know_each_other_gets_no_traffic_back(watched: Watched) -> None:
    watched.lose(machine=True)
    watched.look(SILENT_S)
    watched.bring_back()
    watched.site.slave.role = "master"  # two load balancers with one role
    watched.look(10.0)
    watched.site.slave.role, watched.site.slave.peer = "slave", "an earlier one"
    watched.look(10.0)
    assert (orders(watched), watched.status()) == (["around"], (True, []))


def test_who_fails_closed_is_told_of_and_led_nowhere() -> None:
    watched = Watched(network_text())
    watched.lose(machine=True)
    watched.look(10.0)
    assert (orders(watched), watched.status()) == ([], (False, ["l2"]))
    assert "its traffic stops" in watched.journal()[0][1]
    watched.site.controller.led_around.add("main")  # by another configuration
    watched.look()
    assert orders(watched) == ["through"]
    watched.detours.stop()


def test_what_the_controller_refuses_is_asked_for_again(watched: Watched) -> None:
    def refuse(call: str, after: bool) -> None:
        if call == "around":
            raise Conflict("its pair is not in the way")

    watched.site.controller.fault = refuse
    watched.lose(machine=True)
    watched.look(1.0)
    assert orders(watched).count("around") > 2
    watched.site.controller.fault = lambda call, after: None
    watched.look()
    assert watched.status() == (True, ["l2"])
    assert [kind for kind, _ in watched.journal()] == ["fault", "around"]


def test_only_the_leader_orders(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(watched.site.ledger), "leads", False)
    watched.lose(machine=True)
    watched.look(5.0)
    assert (orders(watched), watched.status()) == ([], (False, ["l2"]))


def test_status_tells_people() -> None:
    from rich.console import Console

    from mgmt_system.tables import segments

    def shown(**told: object) -> str:
        console = Console(width=200)
        base = wire.SegmentStatus(name="main", master="l1", slave="l2")
        with console.capture() as capture:
            console.print(segments([base.model_copy(update=told)]))
        return capture.get()

    assert "l2 gone: traffic led around" in shown(around=True, gone=["l2"])
    assert "coming back: traffic led around" in shown(around=True)
    assert "l1 and l2 gone: traffic STOPS" in shown(gone=["l1", "l2"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (OPEN.replace("main: {", "main: {rewrites: true, "), "would show addresses that they hide"),
        (OPEN.replace("l2: {switch: s2, outer: o", "l2: {switch: s1, outer: p"), "no way leads"),
    ],
)
def test_where_traffic_can_not_go_around_the_configuration_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidValue, match=fault):
        ServiceConfig.load(text)
