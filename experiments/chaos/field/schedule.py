"""Which fault comes when: drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from catenary.session import Timeouts


class Kind(StrEnum):
    """What is done to the pair; `calm` is nothing, for comparison."""

    CALM = "calm"
    KILL_MASTER = "kill-master"
    KILL_SLAVE = "kill-slave"
    KILL_MS = "kill-ms"
    KILL_CONTROLLER = "kill-controller"
    CUT_CONTROL = "cut-control"
    CUT_BYPASS = "cut-bypass"
    LOSE_MASTER_MAPS = "lose-master-maps"
    LOSE_SLAVE_MAPS = "lose-slave-maps"
    STORM = "storm"
    STEP_CLOCK = "step-clock"
    FLAP_LINK = "flap-link"
    UPGRADE = "upgrade"
    FULL_TABLE = "full-table"


KILLS = frozenset({Kind.KILL_MASTER, Kind.KILL_SLAVE, Kind.KILL_MS, Kind.KILL_CONTROLLER})
"""Daemons that die: that may not cost a packet, for the data plane outlives them."""
SERVICES = KILLS | {
    Kind.CUT_CONTROL,
    Kind.LOSE_MASTER_MAPS,
    Kind.LOSE_SLAVE_MAPS,
    Kind.STEP_CLOCK,
    Kind.STORM,
}
"""What keeps the services from their work, or gives them all that they can do, so that a drained chain is
noticed later."""
FAULTS = tuple(kind for kind in Kind if kind is not Kind.CALM)
"""The kinds of the schedule, unless some are named."""

_HOLD_S = {Kind.CUT_CONTROL: (0.3, 0.8), Kind.CUT_BYPASS: (0.5, 1.0), Kind.FLAP_LINK: (0.2, 0.6)}
_HOLD_ELSE_S = (0.1, 0.6)


@dataclass(frozen=True)
class Strike:
    """One fault: `turn` counts those of its kind from 0, `hold_s` is how long it stays in force."""

    number: int
    kind: Kind
    turn: int
    hold_s: float

    def __str__(self) -> str:
        return f"{self.number} {self.kind}"


@dataclass(frozen=True)
class Stage:
    """A testbed of its own: the segment's timeouts, the size of its session tables, and its kinds of fault.

    Timeouts are short, so that chains drain while faults come, and longer than the gaps that a fault leaves
    in a live session.
    """

    name: str
    timeouts: Timeouts
    sessions: int
    kinds: frozenset[Kind]


ROOMY = Stage(
    "roomy",
    Timeouts(
        tcp_opening=5.0,
        tcp_established=15.0,
        tcp_closing=1.0,
        udp=2.5,
        other=2.5,
        neighbour=2.5,
        lease=0.75,
        transit=0.5,
    ),
    1 << 16,
    frozenset(Kind) - {Kind.FULL_TABLE},
)
CROWDED = Stage(
    "crowded",
    Timeouts(
        tcp_opening=1.6,
        tcp_established=1.6,
        tcp_closing=0.8,
        udp=1.0,
        other=1.0,
        neighbour=1.0,
        lease=0.5,
        transit=0.4,
    ),
    1 << 10,
    frozenset({Kind.FULL_TABLE}),
)
STAGES = (ROOMY, CROWDED)
ROUND = 10
"""Faults of a kind, after which everything is built anew."""


def rounds(each: int) -> list[int]:
    """How many faults of every kind in each round of a stage: a witness can note so many sessions only."""
    return [min(ROUND, each - done) for done in range(0, each, ROUND)]


def schedule(stage: Stage, seed: int, each: int, kinds: Sequence[Kind]) -> tuple[Strike, ...]:
    """`each` faults of every one of `kinds` that belongs to the stage, in an order drawn from `seed`.

    Calm comes first: what nothing costs is what the others are held to.
    """
    rng = random.Random(f"{seed}-{stage.name}")
    drawn = [(kind, turn) for kind in kinds if kind in stage.kinds for turn in range(each)]
    rng.shuffle(drawn)
    calm = [(Kind.CALM, 0)] if drawn and Kind.CALM in stage.kinds else []
    return tuple(
        Strike(number, kind, turn, round(rng.uniform(*_HOLD_S.get(kind, _HOLD_ELSE_S)), 3))
        for number, (kind, turn) in enumerate([*calm, *drawn], 1)
    )
