"""The rules of affinity, each to be switched off alone: the simulator must then see what that rule prevents.

How is said in `switches`; or management is impatient. `symptom` is what must rise: `crossed` sessions, `cut`
packets of sessions under way, or `lost` sessions, which came to a network function that does not know them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from experiments.chaos import switches as off
from experiments.chaos.plane import OraclePlane
from experiments.chaos.world import Options, Outcome
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.master import Master

Symptom = Literal["crossed", "cut", "lost"]

_ROOMY = {"capacity": 1_000_000}
_CALM = {**_ROOMY, "fault_every": 10**9}
_SHORT = {**_ROOMY, "timeouts": replace(Options(0).timeouts, lease=0.125, tcp_closing=0.2)}
_LOSING = {**_ROOMY, "fault_every": 300, "control_loss": 0.0}
_BRIEF = {"sessions": 300}
_REWRITING = {
    **_ROOMY,
    **_BRIEF,
    "rewrites": True,
    "timeouts": replace(
        Options(0).timeouts,
        tcp_opening=4.0,
        tcp_established=9.0,
        tcp_closing=2.0,
        udp=5.0,
        other=5.0,
        lease=0.4,
    ),
    "loss": 0.0,
    "control_loss": 0.0,
    "slow_start": 0.0,
}
"""Timeouts are far longer than the time between two exchanges of keys, as real ones are."""
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
    daemon: type[Master] = Master
    slow_slave: bool = False
    forced: bool = False
    hasty: bool = False
    seed: int = 0
    world: Mapping[str, Any] = field(default_factory=lambda: _ROOMY)

    def options(self, options: Options) -> Options:
        return replace(options, **self.world)

    def count(self, seen: Outcome) -> int:
        """How often its symptom was seen."""
        return {"crossed": len(seen.broken), "cut": seen.cut.total(), "lost": len(seen.lost)}[self.symptom]

    def make(self, role: str, clock: Callable[[], int], capacity: int) -> OraclePlane:
        """The data plane of one end."""
        return self.plane(clock, self.master if role == "master" else self.slave, capacity)


ALL_ON = Rule("all rules hold", world={})
CALM = Rule("all rules hold, and no fault happens", "cut", world=_CALM)
REWRITING = Rule("all rules hold, and chains rewrite", "lost", world=_REWRITING)
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "one-writer": Rule(
            "both load balancers place by their hash", master=off.HashAtBoth, slave=off.HashAtBoth
        ),
        "look-up": Rule(
            "a client's SYN is placed without a look at its pin",
            master=off.PlacesEachSyn,
            world=_ROOMY | _BRIEF,
        ),
        "exchange": Rule(
            "neither keeps the other's keys", "lost", plane=off.OwnKeysPlane, seed=1, world=_REWRITING
        ),
        "hold": Rule("a pin is held for tau only", master=off.ShortHold, slave=off.ShortHold),
        "late-packets": Rule(
            "a closing pin counts from its start", master=off.CountsFromClosing, seed=44, world=_SHORT
        ),
        "both-directions": Rule("server traffic keeps no pin", master=off.ForwardOnly),
        "forged-reset": Rule("a RST ends a session at once", master=off.ResetEnds),
        "fin-marks": Rule("a SYN leaves FIN marks", master=off.KeepsFins, seed=1, world=_ROOMY | _BRIEF),
        "reopened": Rule(
            "what closed once stays closed", master=off.StaysClosed, seed=4, world=_ROOMY | _BRIEF
        ),
        "quiet": Rule("a SYN moves a closed session at once", master=off.GivesWayAtOnce, seed=1),
        "lease": Rule("the slave trusts a lapsed lease", slave=off.EternalLease),
        "lease-proof": Rule("server traffic renews the lease", slave=off.ServerProves, seed=5),
        "hint": Rule("a hint beats the master's pin", master=off.HintBeatsPin, seed=3),
        "servers-syn": Rule(
            "a server's SYN follows a lease", slave=off.SynFollowsLease, seed=50, world=_ROOMY | _BRIEF
        ),
        "overflow": Rule("p2c goes on without pins", master=off.PolicyInOverflow, world=_CROWDED),
        "overflow-frozen": Rule("chains change during overflow", forced=True, world=_CROWDED),
        "eviction": Rule(
            "pins are evicted that differ from the hash", master=off.EvictsAny, world=_CROWDED | _BRIEF
        ),
        "overflow-end": Rule(
            "overflow ends once there is room", plane=off.EagerPlane, world=_CROWDED | _BRIEF
        ),
        "drained": Rule("pins don't hold up a removal", plane=off.BlindPlane, world=_CALM),
        "closed": Rule(
            "a closed chain goes on learning", master=off.ClosedLearns, slave=off.ClosedLearns, seed=6
        ),
        "generations": Rule(
            "a slot's next chain is taken for its last",
            daemon=off.OneGeneration,
            seed=1,
            world=_ROOMY | _BRIEF,
        ),
        "orders": Rule("orders end sessions at the master only", daemon=off.EndsAlone, seed=12),
        "idle": Rule("sessions are let go while a lease holds", plane=off.HastyPlane, seed=1),
        "copy": Rule("a master that lost its pins goes on without", plane=off.NoCopyPlane, seed=1),
        "take-over": Rule(
            "a master places while it copies its pins", master=off.PlacesAtOnce, world=_LOSING | _BRIEF
        ),
        "second-copy": Rule("a copy misses what is under way", plane=off.OneCopyPlane, world=_LOSING),
        "rules-last": Rule("switch rules go when a removal begins", "cut", hasty=True, world=_CALM),
        "slave-first": Rule("the master does not wait for its slave", "cut", slow_slave=True, world=_CALM),
    }
)
"""Every rule that can be switched off."""
BASELINE = "one-writer"
"""Without it, this is the paper's Algorithm 1."""
