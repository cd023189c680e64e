"""How each rule of affinity is switched off: by a splice, a data plane or a daemon that does otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from catenary import wire
from experiments.chaos.plane import OraclePlane
from lb_adapter.core.oracle import FrameClass, Parsed
from lb_adapter.core.oracle_pin import FROM_CLIENT, FROM_SERVER, RST, Pin, State, age, leased, opens
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Order, Setup, Verdict
from lb_adapter.dataplane.base import Load, Swept, TakeOver
from lb_adapter.master import Master
from lb_adapter.records import PinRecords


class HashAtBoth(Splice):
    """The paper's Algorithm 1 at both ends: a table of one's own, and the consistent hash on a miss."""

    def _slave_outer(self, parsed: Parsed, now: int) -> Verdict:
        if parsed.kind is not FrameClass.SESSION:
            return super()._slave_outer(parsed, now)
        slot = self._place(parsed, now, parsed.tcp_flags, FROM_SERVER)
        return Verdict("inner", self.setup.slots[slot].reverse, "to_chain", slot)

    def _slave_chain(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        return Verdict("outer", 0, "to_outer", tagged)

    def _master_chain(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        return Verdict("outer", 0, "to_outer", tagged)


class ShortHold(Splice):
    """A pin is held for tau, not for tau + L + 2 D."""

    def _in_force(self, pin: Pin, now: int) -> bool:
        short = age(pin, now) < self.setup.times.promised(pin.state)
        return short and super()._in_force(pin, now)


class CountsFromClosing(Splice):
    """A closing pin is held for T after closing began, whatever came since."""

    def _in_force(self, pin: Pin, now: int) -> bool:
        times = self.setup.times
        hold = times.promised(pin.state) + times.lease + 2 * times.transit
        return age(pin, now) < hold and super()._in_force(pin, now)


class ForwardOnly(Splice):
    """Server traffic does not refresh the master's pin."""

    def _refresh(self, parsed: Parsed, now: int, flags: int, side: int) -> int | None:
        pin = self._look(parsed, now)
        if side == FROM_SERVER and pin is not None and pin.state is not State.RESET:
            return pin.slot
        return super()._refresh(parsed, now, flags, side)


class ResetEnds(Splice):
    """A RST ends the session at once."""

    def _refresh(self, parsed: Parsed, now: int, flags: int, side: int) -> int | None:
        slot = super()._refresh(parsed, now, flags, side)
        if flags & RST and parsed.key is not None and slot is not None:
            del self.pins[parsed.key.pack()]
        return slot


class GivesWayAtOnce(Splice):
    """A SYN on a closed pin is placed anew though the old session's packets are still under way."""

    def _gives_way(self, pin: Pin, flags: int, now: int) -> bool:
        return pin.state is State.CLOSING and self._may_move(pin, flags)


class HintBeatsPin(Splice):
    """The master believes the slave's hint more than its own pin."""

    def _hinted(self, parsed: Parsed, now: int, hint: int) -> int | None:
        return self._assign(parsed, now, hint, "hint_honoured")


class PolicyInOverflow(Splice):
    """Without room for a pin, p2c goes on choosing."""

    def _choose(self, key: Any) -> int | None:
        overflow, self.overflow = self.overflow, False
        slot = super()._choose(key)
        self.overflow = overflow
        return slot


class EternalLease(Splice):
    """The slave follows a lapsed lease without asking."""

    def _decides(self, pin: Pin, flags: int, now: int) -> bool:
        return not opens(flags)


class ServerProves(Splice):
    """Server traffic renews the slave's lease by itself."""

    def _slave_outer(self, parsed: Parsed, now: int) -> Verdict:
        verdict = super()._slave_outer(parsed, now)
        if verdict.reason == "to_chain" and parsed.key is not None:
            raw = parsed.key.pack()
            self.pins[raw] = self.pins[raw]._replace(seen=now)
        return verdict


class PlacesEachSyn(Splice):
    """A client's SYN is placed without a look at the pin: it may be one that was sent again."""

    def _refresh(self, parsed: Parsed, now: int, flags: int, side: int) -> int | None:
        pin = self._look(parsed, now)
        if opens(flags) and side == FROM_CLIENT and pin is not None and pin.state is not State.RESET:
            return None
        return super()._refresh(parsed, now, flags, side)


class KeepsFins(Splice):
    """A SYN leaves the FIN marks of the session before."""

    def _refresh(self, parsed: Parsed, now: int, flags: int, side: int) -> int | None:
        old = self._look(parsed, now)
        slot = super()._refresh(parsed, now, flags, side)
        if opens(flags) and slot is not None and parsed.key and old and old.state is not State.RESET:
            raw = parsed.key.pack()
            self.pins[raw] = self.pins[raw]._replace(fins=old.fins)
        return slot


class StaysClosed(Splice):
    """A closing pin stays so, though packets show long after a RST that the session lives."""

    def _refresh(self, parsed: Parsed, now: int, flags: int, side: int) -> int | None:
        old = self._look(parsed, now)
        slot = super()._refresh(parsed, now, flags, side)
        if slot is not None and parsed.key and old and old.state is State.CLOSING and not opens(flags):
            raw = parsed.key.pack()
            self.pins[raw] = self.pins[raw]._replace(state=State.CLOSING, fins=old.fins)
        return slot


class SynFollowsLease(Splice):
    """The slave has the server's SYN follow a lease, as any other packet."""

    def _decides(self, pin: Pin, flags: int, now: int) -> bool:
        return leased(pin, now, self.setup.times)


class ClosedLearns(Splice):
    """A closed chain learns and is believed like a cooling one."""

    def configure(self, setup: Setup) -> None:
        rows = {
            slot: replace(row, state="cooling") if row.state == "closed" else row
            for slot, row in setup.slots.items()
        }
        super().configure(replace(setup, slots=rows))


class EvictsAny(Splice):
    """Overflow evicts half-open pins, whatever today's hash says of their keys."""

    def _evictable(self, raw: bytes, pin: Pin) -> bool:
        return self.overflow and not self.roomy and pin.state is State.OPENING


class PlacesAtOnce(Splice):
    """A master that lost its pins places what comes while it copies its slave's."""

    def _decide(self, parsed: Parsed, now: int, where: str, tagged: int | None) -> Verdict:
        state, self.take_over = self.take_over, TakeOver.NONE
        try:
            return super()._decide(parsed, now, where, tagged)
        finally:
            self.take_over = state


class BlindPlane(OraclePlane):
    """The walk finds no pins: a chain is drained two transit times after its removal."""

    def walk(self) -> dict[int, Load]:
        super().walk()
        return {}


class HastyPlane(OraclePlane):
    """What is let go need not be idle for long."""

    def sweep(self, order: Order) -> Swept:
        return super().sweep(replace(order, idle=min(order.idle, 1)))


class NoCopyPlane(OraclePlane):
    """A master that lost its session table copies the chain set alone."""

    def export(self, since_ms: int | None) -> Iterator[PinRecords]:
        return iter(())


class OneCopyPlane(OraclePlane):
    """What was still under way when the slave's table was copied is not copied after it."""

    def export(self, since_ms: int | None) -> Iterator[PinRecords]:
        return super().export(None) if since_ms is None else iter(())


class EagerPlane(OraclePlane):
    """Overflow ends as soon as there is room again."""

    def set_overflow(self, overflow: bool, *, roomy: bool = False) -> None:
        super().set_overflow(overflow and not roomy, roomy=roomy)


class OwnKeysPlane(OraclePlane):
    """Neither load balancer keeps the keys that only the other one sees."""

    def take_in(self, pins: PinRecords) -> None:
        """They are thrown away."""


class OneGeneration(Master):
    """A slot that is used again has the generation that it had before."""

    def change(self, request: wire.Change) -> wire.ChainSet:
        self._leader = replace(self._leader, table=replace(self.table, generations={}))
        return super().change(request)


class EndsAlone(Master):
    """Orders end sessions at the master only."""

    def _tell_slave(self, order: Order) -> None:
        """It keeps what it knows."""
