"""A load balancer's machine is gone: when the management system believes it, and what it orders then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from catenary import wire
from catenary.config import BalancerAttachment, ServiceConfig, StandbyAttachment
from catenary.errors import Conflict, Unavailable
from mgmt_system import tables
from mgmt_system.current import Current
from mgmt_system.failover import LINKED_S, Failover
from mgmt_system.journal import Event
from mgmt_system.peers import Peers
from mgmt_system.standbys import Heard, Watched, lost
from tests.unit.lb_health import health_of
from tests.unit.mgmt_fakes import network_text
from topologies.services import wait_until

HERE, THERE = "http://127.0.0.1:2", "http://127.0.0.1:9"
AFTER = 0.5


def health(state: Any = None, silent: float = 0.0) -> wire.BalancerHealth:
    standby = None if state is None else wire.StandbyHealth(of=HERE, state=state, silent=silent, lag=0.1)
    return health_of(role="master", standby=standby)


@pytest.mark.parametrize(
    ("active", "standby", "gone"),
    [
        (Heard(9.0, health(), "no"), Heard(9.9, health("following", 0.6)), True),
        (Heard(9.0, None, "no"), Heard(9.9, health("following", 0.6)), True),
        (Heard(9.9, health()), Heard(9.9, health("following", 0.6)), False),
        (Heard(9.0, health(), "no"), Heard(9.9, health("following", 0.2)), False),
        (Heard(9.0, health(), "no"), Heard(9.0, health("following", 0.6), "no"), False),
        (Heard(9.0, health(), "no"), Heard(9.9, health("active", 5.0)), False),
        (Heard(9.0, health(), "no"), Heard(9.9, health()), False),
        (Heard(9.0, health(), "no"), Heard(9.9), False),
    ],
)
def test_both_must_miss_it(active: Heard, standby: Heard, gone: bool) -> None:
    assert (lost(active, standby, AFTER, 10.0) is not None) == gone


class Balancer:
    """One place: out of reach when it is `dead`; what it is told is in `orders`."""

    def __init__(self, now: list[float], state: Any = None) -> None:
        self.now, self.state = now, state
        self.dead, self.other = False, None  # type: tuple[bool, Balancer | None]
        self.missed = 0.0
        self.orders: list[float] = []

    def health(self) -> wire.BalancerHealth:
        if self.dead:
            raise Unavailable("can't be reached")
        if self.other is not None and not self.other.dead:
            self.missed = self.now[0]
        return health(self.state, self.now[0] - self.missed)

    def take_over(self, order: wire.TakeOverOrder) -> wire.BalancerHealth:
        self.orders.append(order.fenced)
        self.state = "taking_over"
        return self.health()


class Controller:
    def __init__(self) -> None:
        self.where: wire.Place = "first"
        self.refusal: str | None = None
        self.link: wire.LinkState | None = None

    def links(self) -> wire.LinkState:
        """Of both ports of the place that traffic is led through."""
        return "up"

    def balancers(self) -> list[wire.AttachedBalancer]:
        link = self.link or self.links()
        return [
            wire.AttachedBalancer(
                name="l1", outer=link, inner=link, fenced=False, around=False, place=self.where
            )
        ]

    def place(self, balancer: str, place: wire.Place) -> wire.AttachedBalancer:
        if self.refusal:
            raise Conflict(self.refusal)
        self.where = place
        return self.balancers()[0]


class Book:
    """A ledger's part that is used here."""

    def __init__(self) -> None:
        self.leads, self.events = True, list[Event]()

    def tell(self, event: Event) -> None:
        self.events.append(event)


class Place:
    """l1 with a standby, and who watches them; time goes on by hand."""

    def __init__(self) -> None:
        config = ServiceConfig.load(network_text())
        spare = StandbyAttachment(outer="x1", inner="x2", url=THERE, after=AFTER)
        l1 = config.balancers["l1"].model_copy(update={"standby": spare})
        self.network = Current(config.model_copy(update={"balancers": {**config.balancers, "l1": l1}}))
        self.now, self.controller, self.book = [100.0], Controller(), Book()
        self.active, self.standby = Balancer(self.now), Balancer(self.now, "following")
        self.standby.other = self.active
        self.controller.links = self.links  # type: ignore[method-assign]
        self.watcher = self.start()

    def links(self) -> wire.LinkState:
        here = self.active if self.controller.where == "first" else self.standby
        return "down" if here.dead else "up"

    def start(self) -> Failover:
        at = {HERE: self.active, THERE: self.standby}
        peers = Peers(self.controller, {}, at=lambda name, url: at[url.rstrip("/")])  # type: ignore[arg-type,return-value]
        return Failover(self.book, self.network, peers, peers, lambda: self.now[0])  # type: ignore[arg-type]

    def look(self, seconds: float) -> None:
        """For so long, ten times a second; every question is answered before the next look."""
        for _ in range(round(seconds * 10)):
            self.now[0] += 0.1
            self.watcher.look()
            asked = list(self.watcher._asked.values())
            wait_until(lambda asked=asked: all(it.done() for _, it in asked), "answers")  # type: ignore[misc]


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.watcher.stop()


def url(place: Place) -> str:
    return place.network.balancers["l1"].url


def test_a_dead_one_is_replaced_once(place: Place) -> None:
    place.look(2)
    assert (place.controller.where, place.standby.orders) == ("first", [])
    place.active.dead = True
    place.look(AFTER - 0.2)
    assert place.controller.where == "first"
    place.look(1)
    assert place.controller.where == "standby"
    assert len(place.standby.orders) == 1
    assert url(place) == THERE
    [event] = place.book.events
    assert (event.kind, event.segment) == ("take-over", "main")
    assert "the standby of l1" in (event.text or "")
    place.standby.state = "active"
    place.look(3)
    assert len(place.book.events) == len(place.standby.orders) == 1


def test_one_that_came_back_as_standby_may_take_over_again(place: Place) -> None:
    place.look(1)
    place.active.dead = True
    place.look(2)
    place.standby.state, place.standby.other = "active", None
    place.active.dead, place.active.state, place.active.other = False, "following", place.standby
    place.look(1)
    assert url(place) == THERE
    place.standby.dead = True
    place.look(2)
    assert (place.controller.where, url(place)) == ("first", HERE)
    assert len(place.active.orders) == 1


@pytest.mark.parametrize("link", ["up", "unknown"])
def test_a_daemon_that_is_replaced_is_no_machine_that_is_gone(place: Place, link: wire.LinkState) -> None:
    """Its data plane goes on, and a take-over costs D without traffic: an upgrade must not be one."""
    place.look(1)
    place.controller.link, place.active.dead = link, True
    place.look(LINKED_S - 1)
    assert (url(place), place.standby.orders) == (HERE, [])
    place.look(2)
    assert url(place) == THERE, "nobody replaces it"


def test_a_way_that_is_broken_is_no_death(place: Place) -> None:
    place.look(1)
    place.standby.other = None  # its stream is silent
    place.look(3)
    assert place.controller.where == "first"


def test_without_its_controller_nothing_is_ordered(place: Place) -> None:
    place.look(1)
    place.active.dead, place.controller.refusal = True, "switch s1 is not connected"
    place.look(2)
    assert (place.standby.orders, url(place)) == ([], HERE), "it is not fenced"
    place.controller.refusal = None
    place.look(1)
    assert len(place.standby.orders) == 1


def test_who_does_not_lead_orders_nothing_and_learns(place: Place) -> None:
    place.book.leads = False
    place.look(1)
    place.active.dead = True
    place.look(2)
    assert place.controller.where == "first"
    place.controller.where = "standby"
    place.look(3)
    assert url(place) == THERE
    assert not place.standby.orders


def test_a_take_over_that_was_cut_short_is_gone_on_with(place: Place) -> None:
    """The one before died between its two orders."""
    place.look(1)
    place.active.dead, place.controller.where = True, "standby"
    place.watcher.stop()
    place.watcher = place.start()
    place.look(1)
    assert len(place.standby.orders) == 1


def watched(role: wire.Role, known: str | None = None) -> Watched:
    at = BalancerAttachment(
        switch="s1",
        outer="o",
        inner="i",
        url=HERE,
        standby=StandbyAttachment(outer="x", inner="y", url=THERE),
    )
    peer = wire.PeerHealth(url=HERE, connected=True, standby=known)
    return Watched("l1", "main", role, at, peer)


@pytest.mark.parametrize(
    ("role", "known", "look", "in_step", "reason"),
    [
        ("master", None, health("following"), True, None),
        ("master", None, health("active"), False, None),
        ("slave", THERE + "/", health("following"), True, None),
        ("slave", None, health("following"), True, f"start that one with --peer-standby {THERE}"),
        ("master", None, health(), False, f"it does not stand by: start it with --standby-of {HERE}"),
        ("master", None, Unavailable("can't be reached"), False, "can't be reached"),
    ],
)
def test_what_is_told_of_a_standby(
    role: wire.Role,
    known: str | None,
    look: wire.BalancerHealth | Unavailable,
    in_step: bool,
    reason: str | None,
) -> None:
    row = watched(role, known).told(look)
    assert (row.balancer, row.url, row.role, row.in_step) == ("l1", THERE, role, in_step)
    assert (reason in row.reason) if reason and row.reason else row.reason == reason
    if row.state is not None:
        assert (row.of, row.silent, row.lag) == (HERE, 0.0, 0.1)


def test_the_table_of_standbys() -> None:
    rows = [watched("slave").told(health("following", 0.25)), watched("master").told(Unavailable("gone"))]
    console = Console(width=200)
    with console.capture() as captured:
        console.print(tables.standbys(rows))
    lines = [line.split() for line in captured.get().splitlines()]
    assert lines[1][:9] == ["l1", "main", "slave", THERE, "following", "yes", "0.25", "s", "ago"]
    assert lines[2] == ["l1", "main", "master", THERE, "-", "NO", "-", "gone"]
