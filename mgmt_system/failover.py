"""Watches load balancers that have a standby, and has that take the place of one whose machine is gone.

Level-triggered: what the controller says of places is the truth, and who has a place is told to take over as
long as it says that it stands by. So a management system that dies in the middle, or another one, goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from catenary import wire
from catenary.config import BalancerAttachment
from catenary.errors import CatenaryError
from mgmt_system.current import Current
from mgmt_system.journal import Event
from mgmt_system.peers import Peers
from mgmt_system.records import SELF
from mgmt_system.rounds import Rounds
from mgmt_system.standbys import Heard, lost
from mgmt_system.store.ledger import Ledger

log = structlog.get_logger("mgmt_system")
EVERY, CLOSER, PLACES, IDLE = 0.1, 0.02, 2.0, 1.0
"""s between two looks at load balancers with a standby; while one is missed; at their places; where there is
none."""
LINKED_S = 15.0
"""s for which one is missed if its switch doesn't say that its links are down: longer than a daemon takes
to be replaced, whose data plane goes on meanwhile."""
TIMEOUT = 0.25
"""s that a load balancer has to say how it is."""
Key = tuple[str, str]
"""A load balancer's name, and the address of one of its two places."""


class Failover:
    """A thread of its own. `looks` answer within `TIMEOUT`, `orders` take longer. Only who leads orders."""

    WORKERS = 8

    def __init__(
        self,
        ledger: Ledger,
        network: Current,
        looks: Peers,
        orders: Peers,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._network = ledger, network
        self._looks, self._orders = looks, orders
        self._monotonic = monotonic
        self._heard: dict[Key, Heard] = {}
        self._asked: dict[Key, tuple[float, Future[wire.BalancerHealth]]] = {}
        self._placed: float | None = None
        self._cut: dict[str, float] = {}
        """When the controller confirmed the place of a load balancer, s of the monotonic clock."""
        self._told: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(self.WORKERS, thread_name_prefix="failover")
        self._rounds = Rounds("failover", self.look, "load balancers were not looked at")

    def start(self) -> None:
        self._rounds.start()

    def stop(self) -> None:
        self._rounds.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self) -> float:
        """Look once, and order what follows; s until the next look."""
        watched = {name: at for name, at in self._network.balancers.items() if at.standby is not None}
        if not watched:
            return IDLE
        for name, at in watched.items():
            for key in _keys(name, at):
                self._ask(key)
        if not self._learn_places() or not self._ledger.leads:
            return EVERY
        return min(self._decide(name, self._network.balancers[name]) for name in watched)

    def _ask(self, key: Key) -> None:
        """Take an answer that has come, and ask again."""
        now = self._monotonic()
        asked, future = self._asked.pop(key, (now, None))
        before = self._heard.setdefault(key, Heard(now))
        if future is not None and not future.done():
            self._asked[key] = asked, future
            return
        if future is not None:
            error = future.exception()
            if error is None:
                self._heard[key] = Heard(asked, future.result())
            else:
                self._heard[key] = Heard(before.asked, before.health, str(error))
        self._asked[key] = now, self._pool.submit(self._looks.at(*key).health)

    def _learn_places(self) -> bool:
        """Is it known who is where? The controller is asked now and then: others may order, too."""
        now = self._monotonic()
        if self._placed is not None and now - self._placed < PLACES:
            return True
        try:
            places = {item.name: item.place for item in self._looks.controller.balancers()}
        except CatenaryError as error:
            self._say("controller", error.detail)
            return self._placed is not None
        self._told.pop("controller", None)
        exchanged = frozenset(name for name, place in places.items() if place == "standby")
        for name in exchanged ^ self._network.exchanged:
            self._cut[name] = now
        self._network.exchanged, self._placed = exchanged, now
        return True

    def _decide(self, name: str, at: BalancerAttachment) -> float:
        active, spare = (self._heard[key] for key in _keys(name, at))
        assert at.standby is not None, "only such are watched"
        now, after = self._monotonic(), at.standby.after
        reason = lost(active, spare, after, now)
        if reason is not None and self._may_live(name):
            reason = lost(active, spare, max(after, LINKED_S), now)
        here = active.health.standby if active.health is not None and active.refused is None else None
        try:
            if reason is not None:
                self._replace(name, reason)
            elif here is not None and here.state == "following":
                self._order(name, self._network.balancers[name].url)
            else:
                self._told.pop(name, None)
        except CatenaryError as error:
            self._say(name, error.detail)
            return EVERY
        return CLOSER if reason is None and lost(active, spare, after / 2, now) else EVERY

    def _may_live(self, name: str) -> bool:
        """Is there a link to it, for all that is known? Then its daemon alone may be silent."""
        try:
            found = next(item for item in self._looks.controller.balancers() if item.name == name)
        except (CatenaryError, StopIteration):
            return True
        return (found.outer, found.inner) != ("down", "down")

    def _replace(self, name: str, reason: str) -> None:
        place: wire.Place = "first" if name in self._network.exchanged else "standby"
        log.error("load balancer is gone", balancer=name, reason=reason)
        self._orders.controller.place(name, place)
        self._cut[name] = self._monotonic()
        self._network.exchanged ^= frozenset({name})
        url = self._network.balancers[name].url
        self._order(name, url)
        segments = self._network.segments.items()
        segment = next((key for key, it in segments if name in (it.master, it.slave)), None)
        text = f"the standby of {name} at {url} takes its place: {reason}"
        self._ledger.tell(Event("take-over", SELF, {}, segment, text=text))

    def _order(self, name: str, url: str) -> None:
        fenced = self._monotonic() - self._cut.get(name, self._monotonic())
        self._orders.at(name, url).take_over(wire.TakeOverOrder(fenced=max(0.0, min(fenced, 3600.0))))
        # What it said before it was told says nothing of it now.
        self._heard.pop((name, url), None)
        asked = self._asked.pop((name, url), None)
        if asked is not None:
            asked[1].cancel()
        log.warning("standby takes over", balancer=name, url=url)

    def _say(self, what: str, reason: str) -> None:
        if self._told.get(what) != reason:
            log.warning("no take-over yet", part=what, reason=reason)
        self._told[what] = reason


def _keys(name: str, at: BalancerAttachment) -> tuple[Key, Key]:
    assert at.standby is not None, "only such are watched"
    return (name, at.url), (name, at.standby.url)
