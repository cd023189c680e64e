"""Watches the machines of load balancers, and has traffic led around a segment that lost one: a thread.

Where traffic is led is asked of the controller each time: another management system may have ordered it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog

from catenary import wire
from catenary.config import SegmentConfig
from catenary.errors import CatenaryError
from mgmt_system import gone
from mgmt_system.current import Current
from mgmt_system.gone import Look, Pair
from mgmt_system.journal import Event
from mgmt_system.peers import Peers
from mgmt_system.records import SELF
from mgmt_system.rounds import Rounds
from mgmt_system.store.ledger import Ledger

log = structlog.get_logger("mgmt_system")
FAST, SLOW = 0.2, 1.0
"""Seconds between looks, where a segment fails open and where none does."""
STANDBY_S = 5.0
"""For so long a standby has time to take the place of one that is gone."""


class Detours:
    """`ask` asks load balancers, and should hardly wait: one that is gone never answers. `order` is for the
    controller.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        ask: Peers,
        order: Peers,
        network: Current,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._network, self._clock = ledger, network, clock
        self._ask, self._order = ask, order
        self._pairs: dict[str, Pair] = {}
        self._around: frozenset[str] = frozenset()
        self._refused: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="machines")
        self._rounds = Rounds("machines", self._round, "no look at the load balancers' machines")

    def start(self) -> None:
        self._rounds.start()

    def stop(self) -> None:
        self._rounds.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def told(self, segment: wire.SegmentStatus) -> wire.SegmentStatus:
        """With the load balancers whose machines are gone, and whether traffic is led around them."""
        lost = sorted(self._pairs.get(segment.name, Pair()).gone)
        return segment.model_copy(update={"around": segment.name in self._around, "gone": lost})

    def _round(self) -> float:
        self.look()
        fast = any(segment.when_lb_gone == "fail-open" for segment in self._network.segments.values())
        return FAST if fast else SLOW

    def look(self) -> None:
        """One look at all segments, and what follows from it; who does not lead only looks."""
        try:
            attached = {item.name: item for item in self._order.controller.balancers()}
        except CatenaryError:
            return  # without it nothing is known, and nothing can be done
        segments = dict(self._network.segments)
        self._pairs = {name: pair for name, pair in self._pairs.items() if name in segments}
        self._around = frozenset(
            name
            for name, item in segments.items()
            if item.master in attached and attached[item.master].around
        )
        for name, segment in segments.items():
            if {segment.master, segment.slave} <= attached.keys():
                self._judge(name, segment, attached)

    def _judge(
        self, name: str, segment: SegmentConfig, attached: Mapping[str, wire.AttachedBalancer]
    ) -> None:
        around, before = name in self._around, self._pairs.get(name, Pair())
        looks = self._looks(segment, attached, every=around or bool(before.gone))
        now = self._clock()
        pair = self._pairs[name] = gone.observed(before, looks, now)
        if not self._ledger.leads:
            return
        self._tell(name, segment, before, pair)
        fails_open = segment.when_lb_gone == "fail-open" and (around or not self._replaceable(pair, now))
        match gone.verdict(pair, now, around=around, fails_open=fails_open):
            case "around":
                self._lead(name, self._order.controller.around, ", ".join(sorted(pair.gone)) + " is gone")
            case "through":
                back = "both load balancers are well again" if fails_open else "it is to fail closed"
                self._lead(name, self._order.controller.through, back)
            case None:
                self._refused.pop(name, None)

    def _replaceable(self, pair: Pair, now: float) -> bool:
        """May a standby yet take the place of one that is gone? It keeps sessions in their chains."""
        spared = any(self._network.balancers[name].standby for name in pair.gone)
        return spared and now - pair.losses[-1] < STANDBY_S

    def _looks(
        self, segment: SegmentConfig, attached: Mapping[str, wire.AttachedBalancer], *, every: bool
    ) -> dict[str, Look]:
        """Daemons are asked only where that may matter: while there are links, nothing follows from them."""
        linked = {name: _linked(attached[name]) for name in (segment.master, segment.slave)}
        asked = [name for name, up in linked.items() if every or up is False]
        said = dict(zip(asked, self._pool.map(self._health, asked), strict=True))
        well = _follow(said.get(segment.master), said.get(segment.slave))
        return {
            name: Look(up, said[name] is not None if name in said else None, well)
            for name, up in linked.items()
        }

    def _health(self, name: str) -> wire.BalancerHealth | None:
        try:
            return self._ask.balancers[name].health()
        except CatenaryError:
            return None

    def _lead(self, name: str, order: Callable[[str], wire.SegmentView], why: str) -> None:
        try:
            view = order(name)
        except CatenaryError as error:
            if self._refused.get(name) != error.detail:
                log.error("traffic can't be led otherwise", segment=name, why=why, reason=error.detail)
            self._refused[name] = error.detail
            return
        self._refused.pop(name, None)
        self._around = self._around | {name} if view.around else self._around - {name}
        log.error("traffic led around", segment=name, why=why) if view.around else log.info(
            "traffic led through", segment=name, why=why
        )
        self._note(Event("around", SELF, {"around": (not view.around, view.around)}, name, text=why))

    def _tell(self, name: str, segment: SegmentConfig, before: Pair, pair: Pair) -> None:
        """Say whose machine has gone, or come back."""
        for lost in sorted(pair.gone - before.gone):
            what = "traffic goes around it" if segment.when_lb_gone == "fail-open" else "its traffic stops"
            text = f"the machine of load balancer {lost} is gone: no link, no answer; {what} (when_lb_gone)"
            log.error("machine gone", balancer=lost, segment=name, now=what)
            self._note(Event("fault", SELF, {lost: (None, text)}, name))
        for back in sorted(before.gone - pair.gone):
            log.info("machine back", balancer=back, segment=name)
            self._note(Event("fault", SELF, {back: ("its machine was gone", None)}, name))

    def _note(self, event: Event) -> None:
        self._ledger.note(event)
        try:
            self._ledger.flush()
        except CatenaryError as error:  # it is written with the next write
            log.warning("nothing can be written down", reason=error.detail)


def _linked(attached: wire.AttachedBalancer) -> bool | None:
    links = {attached.outer, attached.inner}
    return True if "up" in links else None if "unknown" in links else False


def _follow(master: wire.BalancerHealth | None, slave: wire.BalancerHealth | None) -> bool:
    """Do both daemons answer, as what they are to be, and know each other's present process?"""
    return (
        master is not None
        and slave is not None
        and (master.role, slave.role) == ("master", "slave")
        and master.peer.connected
        and (master.peer.instance, slave.peer.instance) == (slave.instance, master.instance)
    )
