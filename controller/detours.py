"""A load balancer cut off by a fence, and traffic led around a segment: by order, until the order is undone.

Each order is kept in the state file and answered when the switches have confirmed; given again, it is
answered alike. When a switch refuses or is missing, everything is taken back. The two are independent: what
takes a fenced load balancer's place may carry the segment's traffic, and one that came back may be looked at
while traffic still passes by it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

import structlog

from catenary import wire
from catenary.errors import CatenaryError, Conflict, NotFound, Unavailable
from controller.around import check_around, ports_of
from controller.fabric import Fabric
from controller.insertion import outers
from controller.network import Port
from controller.steering import AskPlan, plan_asks
from controller.wanted import Wanted

log = structlog.get_logger("controller")


class Detours:
    """Orders about `wanted`, one at a time by `one_change`, which `data` guards and `save` writes down."""

    def __init__(
        self,
        wanted: Wanted,
        fabric: Fabric,
        locks: tuple[threading.Lock, threading.Lock],
        save: Callable[[], None],
        *,
        lasting: bool,
    ) -> None:
        self._wanted, self._fabric, self._save = wanted, fabric, save
        self._one_change, self._data = locks
        self._lasting = lasting

    # --- orders --------------------------------------------------------------------------------------

    def fence(self, balancer: str) -> wire.AttachedBalancer:
        """Take nothing from a load balancer's ports, and send nothing there.

        Raises `NotFound`, `Conflict` where it would be forgotten, `Unavailable` without its switch.
        """
        return self._fence(balancer, fenced=True)

    def unfence(self, balancer: str) -> wire.AttachedBalancer:
        """Let it take part again."""
        return self._fence(balancer, fenced=False)

    def _fence(self, balancer: str, *, fenced: bool) -> wire.AttachedBalancer:
        with self._one_change:
            _check_known("load balancer", balancer, self._wanted.network.balancers)
            what = f"load balancer {balancer!r} can't be fenced"
            self._check_lasting(what)
            others = self._wanted.fenced - {balancer}
            switches = {port.switch for port in ports_of(self._wanted.network, balancer)}
            self._change(what, switches, others | {balancer} if fenced else others, self._wanted.around)
            log.info("load balancer fenced" if fenced else "load balancer unfenced", balancer=balancer)
            return self._view(balancer)

    def place(self, balancer: str, place: wire.Place) -> wire.AttachedBalancer:
        """Lead what is a load balancer's to its standby, or back; the other place is cut off.

        No rule names the ports that it leaves, so that whatever comes from there is dropped. Raises
        `NotFound`, `Conflict` where there is no standby or it would be forgotten, `Unavailable`.
        """
        with self._one_change:
            _check_known("load balancer", balancer, self._wanted.network.balancers)
            what = f"load balancer {balancer!r} can't change places"
            if balancer not in self._wanted.network.standbys:
                raise Conflict(f"{what}: it has no standby (balancers: {balancer}: standby: in the network)")
            self._check_lasting(what)
            if (balancer in self._wanted.exchanged) != (place == "standby"):
                self._exchange(what, balancer)
                log.warning("load balancer changed places", balancer=balancer, place=place)
            return self._view(balancer)

    def _exchange(self, what: str, balancer: str) -> None:
        switches = {port.switch for port in ports_of(self._wanted.network, balancer)}
        fenced, around = self._wanted.fenced - {balancer}, self._wanted.around
        self._change(what, switches, fenced, around, exchange=balancer)

    def around(self, segment: str) -> None:
        """Lead traffic around a segment, past both of its load balancers.

        Raises `NotFound`, `Conflict` where there is no way or the pair is not inserted, and `Unavailable`.
        """
        with self._one_change:
            _check_known("segment", segment, self._wanted.network.segments)
            what = f"traffic can't be led around segment {segment!r}"
            if self._wanted.plain(segment):
                raise Conflict(f"{what}: its pair is not in the way (catenary segment insert)")
            self._check_lasting(what)
            path = self._wanted.around.get(segment) or self._path(segment)
            around = {**self._wanted.around, segment: path}
            self._change(what, _switches(path), self._wanted.fenced, around)
            log.info("traffic led around", segment=segment, path=[str(hop.link) for hop in path.bypass])

    def through(self, segment: str) -> None:
        """Lead it through the segment's pair again."""
        with self._one_change:
            _check_known("segment", segment, self._wanted.network.segments)
            path = self._wanted.around.get(segment)
            if path is not None:
                around = {name: it for name, it in self._wanted.around.items() if name != segment}
                what = f"traffic can't be led through segment {segment!r}"
                self._change(what, _switches(path), self._wanted.fenced, around)
                log.info("traffic led through", segment=segment)

    def _path(self, segment: str) -> AskPlan:
        """That of the segment's asks, unless one of its links is lost."""
        topology = self._fabric.topology()
        path = self._wanted.asks.get(segment)
        if path is None or not {hop.link for hop in path.bypass} <= topology.links:
            path = plan_asks(self._wanted.network, topology, segment)
        own = outers(self._wanted.network, segment)
        with self._data:
            ends = self._wanted.ends(self._wanted.plans.values())
        check_around(self._wanted.network, path, {at: way for at, way in ends.items() if at not in own})
        return path

    def _check_lasting(self, what: str) -> None:
        if not self._lasting:
            raise Conflict(f"{what}: a controller without --state would forget it")

    def _change(
        self,
        what: str,
        switches: Collection[str],
        fenced: set[str],
        around: dict[str, AskPlan],
        exchange: str | None = None,
    ) -> None:
        """`exchange`: this load balancer and its standby change places."""
        moved = [exchange] if exchange else []
        switches = sorted(switches)
        missing = self._fabric.standing().missing
        if waits := [missing[name] for name in switches if name in missing]:
            raise Unavailable(f"{what} yet: waiting for {', '.join(waits)}")
        with self._data:
            old = self._wanted.fenced, self._wanted.around
            before = self._wanted.rules(switches)
            self._wanted.fenced, self._wanted.around = fenced, around
            self._wanted.exchange(moved)
            after = self._wanted.rules(switches)
        try:
            self._fabric.change(switches, before, after)
            self._save()
        except CatenaryError:
            with self._data:
                self._wanted.fenced, self._wanted.around = old
                self._wanted.exchange(moved)
            for name in switches:
                self._fabric.refresh(name)
            raise

    # --- views ---------------------------------------------------------------------------------------

    def balancers(self) -> list[wire.AttachedBalancer]:
        """By name."""
        return [self._view(name) for name in sorted(self._wanted.network.balancers)]

    def _view(self, name: str) -> wire.AttachedBalancer:
        attached = self._wanted.network.balancers[name]
        return wire.AttachedBalancer(
            name=name,
            outer=self._link(attached.outer),
            inner=self._link(attached.inner),
            fenced=name in self._wanted.fenced,
            around=any(
                name in (self._wanted.network.segments[it].master, self._wanted.network.segments[it].slave)
                for it in self._wanted.around
            ),
            place="standby" if name in self._wanted.exchanged else "first",
        )

    def _link(self, port: Port) -> wire.LinkState:
        """A machine that is gone may have taken its port along."""
        if not self._fabric.is_connected(port.switch):
            return "unknown"
        live = self._fabric.ports(port.switch).get(port.name)
        return "up" if live is not None and live.up else "down"


def _switches(path: AskPlan) -> set[str]:
    return {end.switch for hop in path.bypass for end in (hop.out, hop.into)}


def _check_known(kind: str, name: str, among: Collection[str]) -> None:
    if name not in among:
        raise NotFound(f"unknown {kind} {name!r}: this network has {', '.join(sorted(among)) or 'none'}")
