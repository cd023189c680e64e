"""A cross-connection: one splice between several plain interfaces on either side, on eBPF.

    o1 --+             +-- i1
    o2 --+-- splice ---+-- i2        a session keeps one interface of each side
    o3 --+             +-- ...

What replicas of one network function send goes to replicas of the next, untagged. Nobody need ask: a key that
is not known yet keeps the interface that it came in by, and is placed on the other side. The sides are fixed
while it lives. Replicas that share an address need static neighbours: one question has one answer here.
It ends with `close`: what a killed process leaves goes on until its filters are deleted (`tc filter delete`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from catenary import libbpf, maglev
from catenary.errors import Conflict, InvalidValue
from catenary.session import SessionKey, Timeouts
from lb_adapter import abi
from lb_adapter.dataplane import ports
from lb_adapter.dataplane.base import PINS_DEFAULT, Load, Policy
from lb_adapter.dataplane.ebpf import FLAGS, EbpfDataPlane, is_attached
from lb_adapter.dataplane.tables import number, timing
from lb_adapter.overflow import LOW_WATER

GENERATION = 1


class CrossConnection:
    """Between `outers` and `inners`, names of interfaces; attached from entering the context until `close`.

    A full table refuses new sessions: the plain hash could not keep an interface that a session came in by.
    Raises `InvalidValue` for an unknown interface, one named twice, too few or too many; `Conflict` for one
    that has a tc filter already.
    """

    def __init__(
        self,
        outers: Sequence[str],
        inners: Sequence[str],
        timeouts: Timeouts,
        *,
        policy: Policy = "p2c",
        pins: int = PINS_DEFAULT,
    ) -> None:
        self._sides = {"outer": _checked("outer", outers, abi.MAX_OUTERS)}
        self._sides["inner"] = _checked("inner", inners, abi.MAX_SLOTS)
        names = [*outers, *inners]
        for name in names:
            if names.count(name) > 1:
                raise InvalidValue(f"interface {name!r} is named twice: each is one endpoint")
            if is_attached(name):
                raise Conflict(f"interface {name!r} is a port of a load balancer: detach that first")
        self._noted: dict[str, bytes] = {}
        self._plane = EbpfDataPlane(pins=pins)
        self._write(timing(timeouts), policy)

    def _write(self, times: dict[str, Any], policy: Policy) -> None:
        outers, inners = self._sides["outer"], self._sides["inner"]
        maps = self._plane.object.map
        interfaces = maps("interfaces")
        for kind, side in (("VID_OUTER", outers), ("VID_CHAIN", inners)):
            for place, index in enumerate(side.values()):
                row = abi.pack("vid", kind=abi.VID_KINDS[kind], slot=place)
                interfaces.set(number(index), row)
        for slot, index in enumerate(inners.values()):
            row = abi.pack(
                "slot",
                ifindex=index,
                generation=GENERATION,
                state=abi.SLOT_STATES["SLOT_ACTIVE"],
                weight=100,
                placed=100,
            )
            maps("slots").set(number(slot), row)
        entries = maglev.fill({place: (name, 1) for place, name in enumerate(outers)}, abi.OUTER_TABLE)
        maps("outers").set(number(0), abi.pack("outer_table", entries=entries.astype("u1").tobytes()))
        self._plane.place({slot: (name, 100) for slot, name in enumerate(inners)}, designated=0)
        config = abi.pack(
            "config",
            miss=abi.enum("miss")["MISS_PLACE"],
            policy=abi.enum("policy")[f"POLICY_{policy.upper()}"],
            plain=1,
            outers=len(outers),
            outer_ifindex=list(outers.values()),
            refuse_full=1,
            **times,
        )
        maps("config").set(number(0), config)

    def __enter__(self) -> Self:
        try:
            for program, side in self._sides.items():
                for name, index in side.items():
                    self._noted[name] = ports.take(name, ports.QUIET, FLAGS)
                    self._plane.object.program(program).attach(index)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give all interfaces back; may be called twice."""
        for name, noted in self._noted.items():
            with suppress(InvalidValue):  # it is gone, and our filter with it
                libbpf.detach(ports.interface_index(name))
            ports.give_back(noted, FLAGS)
        self._noted.clear()
        self._plane.close()

    def walk(self) -> dict[str, Load]:
        """Reclaim expired pins and count the rest, by inner interface.

        A full table has refused sessions; with room again, it takes them as before.
        """
        names = list(self._sides["inner"])
        loads = self._plane.walk_slots(range(len(names)))
        if sum(load.pins for load in loads.values()) < LOW_WATER * self._plane.capacity:
            self._plane.set_overflow(False)
        return {names[slot]: load for slot, load in loads.items()}

    def ends_of(self, key: SessionKey) -> tuple[str, str] | None:
        """The outer and the inner interface of a session, None if it is not known."""
        pin = self._plane.pin_of(key)
        if pin is None:
            return None
        return list(self._sides["outer"])[pin.outer], list(self._sides["inner"])[pin.slot]

    def counters(self) -> dict[str, int]:
        return self._plane.counters()


def _checked(side: str, names: Sequence[str], most: int) -> dict[str, int]:
    """By name, the index of each interface of a side."""
    if not 1 <= len(names) <= most:
        raise InvalidValue(f"{len(names)} interfaces on the {side} side: use 1..{most}")
    return {name: ports.interface_index(name) for name in names}
