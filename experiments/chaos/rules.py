"""The rules of affinity, each to be switched off alone: the simulator must then see what that rule prevents.

A rule is switched off by a splice that does otherwise, or by an impatient management. `symptom` is what must
rise: `crossed` sessions, or `cut` packets of sessions under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from experiments.chaos.plane import OraclePlane
from experiments.chaos.world import Options
from lb_adapter.core.oracle import FrameClass, Parsed
from lb_adapter.core.oracle_pin import FROM_SERVER, RST, Pin, State, age, opens
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Order, Verdict
from lb_adapter.dataplane.base import Load, Swept
from lb_adapter.records import PinRecords

Symptom = Literal["crossed", "cut"]


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
            self.pins[raw] = replace(self.pins[raw], seen=now)
        return verdict


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


_ROOMY = {"capacity": 1_000_000}
_CALM = {**_ROOMY, "fault_every": 10**9}
_SHORT = {**_ROOMY, "timeouts": replace(Options(0).timeouts, lease=0.125, tcp_closing=0.2)}
_LOSING = {**_ROOMY, "fault_every": 300, "control_loss": 0.0}
_CROWDED = {"capacity": 40, "refuse_full": False, "policy": "p2c", "change_every": 300}


@dataclass(frozen=True)
class Rule:
    """One rule, to be switched off. `text` says what happens without it, `world` where that shows.

    `slow_slave`: the master does not wait for its slave. `forced`: changes are forced. `hasty`: switch rules
    go when a removal begins. `seed`: the first world that shows it, if that is a rare one.
    """

    text: str
    symptom: Symptom = "crossed"
    master: type[Splice] = Splice
    slave: type[Splice] = Splice
    plane: type[OraclePlane] = OraclePlane
    slow_slave: bool = False
    forced: bool = False
    hasty: bool = False
    seed: int = 0
    world: Mapping[str, Any] = field(default_factory=lambda: _ROOMY)

    def options(self, options: Options) -> Options:
        return replace(options, **self.world)

    def make(self, role: str, clock: Callable[[], int], capacity: int) -> OraclePlane:
        """The data plane of one end."""
        return self.plane(clock, self.master if role == "master" else self.slave, capacity)


ALL_ON = Rule("all rules hold", world={})
CALM = Rule("all rules hold, and no fault happens", "cut", world=_CALM)
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "one-writer": Rule("both load balancers place by their hash", master=HashAtBoth, slave=HashAtBoth),
        "hold": Rule("a pin is held for tau only", master=ShortHold, slave=ShortHold),
        "late-packets": Rule(
            "a closing pin counts from its start", master=CountsFromClosing, seed=267, world=_SHORT
        ),
        "both-directions": Rule("server traffic keeps no pin", master=ForwardOnly),
        "forged-reset": Rule("a RST ends a session at once", master=ResetEnds),
        "quiet": Rule("a SYN moves a closed session at once", master=GivesWayAtOnce),
        "lease": Rule("the slave trusts a lapsed lease", slave=EternalLease),
        "lease-proof": Rule("server traffic renews the lease", slave=ServerProves, seed=2),
        "hint": Rule("a hint beats the master's pin", master=HintBeatsPin, seed=2),
        "overflow": Rule("p2c goes on without pins", master=PolicyInOverflow, world=_CROWDED),
        "overflow-frozen": Rule("chains change during overflow", forced=True, world=_CROWDED),
        "drained": Rule("pins don't hold up a removal", plane=BlindPlane, world=_CALM),
        "idle": Rule("sessions are let go while a lease holds", plane=HastyPlane, seed=1),
        "copy": Rule("a master that lost its pins goes on without", plane=NoCopyPlane, seed=1),
        "second-copy": Rule("a copy misses what is under way", plane=OneCopyPlane, world=_LOSING),
        "rules-last": Rule("switch rules go when a removal begins", "cut", hasty=True, world=_CALM),
        "slave-first": Rule("the master does not wait for its slave", "cut", slow_slave=True, world=_CALM),
    }
)
"""Every rule that can be switched off."""
BASELINE = "one-writer"
"""Without it, this is the paper's Algorithm 1."""
