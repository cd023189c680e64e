"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """`chains` in `segments`, `rate` requests a second for `seconds`, a list or a plan `times` over.

    `wide`: chains of one apply with real switches. `kills` of the management system at most; None: at every
    crash point. `rounds` of `crowd` chains that cool down at once. `pins` in the session tables when so many
    sessions of each status are `explained`. `compared`: of so many of each kind the explanation is compared
    with what the taps saw.
    """

    chains: int
    segments: int
    times: int
    rate: float
    seconds: float
    wide: int
    kills: int | None
    rounds: int
    crowd: int
    pins: int
    explained: int
    compared: int


FULL = Plan(
    chains=1000,
    segments=20,
    times=15,
    rate=50.0,
    seconds=60.0,
    wide=200,
    kills=None,
    rounds=2,
    crowd=8,
    pins=1_000_000,
    explained=70,
    compared=67,
)
QUICK = Plan(
    chains=40,
    segments=4,
    times=2,
    rate=20.0,
    seconds=1.5,
    wide=8,
    kills=2,
    rounds=1,
    crowd=2,
    pins=20_000,
    explained=5,
    compared=3,
)
