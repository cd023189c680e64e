"""Frames that hypothesis makes: the oracle, the C core and BPF give the same verdict, frame and tables.

CATENARY_CONFORMANCE_FRAMES sets how many (10,000 by default; `make bench` takes 100,000).
"""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lb_adapter.core.check import Core
from lb_adapter.core.oracle import coarsen, parse
from lb_adapter.core.oracle_pin import State, Times
from lb_adapter.core.setup import OUTER_SIZE, Order, Slot
from lb_adapter.dataplane.base import TakeOver
from tests.frames import frames
from tests.planes import ASK, PAIRS, Pairing, Step, Trio, choose, setup

FRAMES = int(os.environ.get("CATENARY_CONFORMANCE_FRAMES", "10000"))
PER_SEQUENCE = 25
VIDS = (None, None, None, *(vid for pair in PAIRS for vid in pair.ids), ASK, 77)
QUICK = Times(
    lease=300,
    transit=100,
    tau={
        State.OTHER: 400,
        State.UDP: 500,
        State.OPENING: 400,
        State.ESTABLISHED: 3000,
        State.CLOSING: 900,
        State.NEIGHBOUR: 400,
    },
)
AFFINITIES = st.sampled_from(("session", "session", "addresses", "client"))
PROBED = st.sampled_from((False, False, True))
POLICIES = st.sampled_from(("maglev", "p2c"))
PROFILE = settings(
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    print_blob=False,
)


ORDERS = st.lists(
    st.builds(
        Order,
        st.sampled_from(("reset", "reset", "delete", "move")),
        st.sampled_from((None, None, (0, 1), (1, 1), (2, 1), (0, 9))),
        st.sampled_from((0, 0, 150, 250, 700)),
        st.sampled_from(((1, 1), (3, 1))),
    ),
    max_size=6,
)


# Half a lifetime of anything at most, and often nothing: sessions must both live and end.
WAITS = st.sampled_from((0, 0, 0, 10, 150, 201, 250, 401, 700, 2100))
BESIDE = st.none() | st.sampled_from((0, 5))


def steps_of(size: int) -> st.SearchStrategy[list[Step]]:
    step = st.builds(Step, frames(), st.sampled_from(VIDS), BESIDE, WAITS)
    return st.lists(step, min_size=size, max_size=size)


def plain_steps_of(size: int) -> st.SearchStrategy[list[Step]]:
    """Between three plain interfaces outside and two inside."""
    endpoint, slot = st.integers(0, 2), st.none() | st.integers(0, 1)
    step = st.builds(Step, frames(), st.none(), BESIDE, WAITS, endpoint, slot)
    return st.lists(step, min_size=size, max_size=size)


@settings(PROFILE, max_examples=max(1, FRAMES // PER_SEQUENCE))
@given(
    role=st.sampled_from(("master", "slave", "passing")),
    affinity=AFFINITIES,
    policy=POLICIES,
    probed=PROBED,
    orders=ORDERS,
    steps=steps_of(PER_SEQUENCE),
)
def _compare_three(
    trios: dict[str, Trio],
    role: str,
    affinity: str,
    policy: str,
    probed: bool,
    orders: list[Order],
    steps: list[Step],
) -> None:
    plain = [replace(step, wait=0, beside=None) for step in steps]
    ever = [replace(order, idle=0) for order in orders]
    passing = role == "passing"
    choice = choose("master" if passing else role, affinity, policy, passing=passing, probed=probed)  # type: ignore[arg-type]
    trios[role].run(choice, plain, ever)


def test_three_planes_agree(trios: dict[str, Trio]) -> None:
    _compare_three(trios)


@settings(PROFILE, max_examples=max(1, FRAMES // PER_SEQUENCE // 5))
@given(
    role=st.sampled_from(("master", "slave")),
    affinity=AFFINITIES,
    policy=POLICIES,
    capacity=st.sampled_from((2, 5, 64)),
    refuse=st.booleans(),
    overflow=st.booleans(),
    take_over=st.sampled_from((*TakeOver, TakeOver.NONE, TakeOver.NONE)),
    asks=st.booleans(),
    designated=st.sampled_from((0, 0, None, 3)),
    walks=st.booleans(),
    weight=st.sampled_from((0, 100, 300)),
    passing=st.booleans(),
    probed=PROBED,
    orders=ORDERS,
    steps=steps_of(2 * PER_SEQUENCE),
)
def compare_over_time(
    core: Core,
    role: str,
    affinity: str,
    policy: str,
    capacity: int,
    refuse: bool,
    overflow: bool,
    take_over: TakeOver,
    asks: bool,
    designated: int | None,
    walks: bool,
    weight: int,
    passing: bool,
    probed: bool,
    orders: list[Order],
    steps: list[Step],
) -> None:
    made = setup(role, affinity, policy, passing=passing, probed=probed)  # type: ignore[arg-type]
    slots = {**made.slots, 0: replace(made.slots[0], weight=weight, placed=max(1, weight))}
    pairing = Pairing(
        core,
        replace(
            made,
            times=QUICK,
            slots=slots,
            capacity=capacity,
            refuse_full=refuse,
            designated=designated,
            ask_id=ASK if asks or role == "master" else None,
        ),
    )
    pairing.oracle.overflow = pairing.c.overflow = overflow
    pairing.oracle.take_over = pairing.c.take_over = take_over
    for number, step in enumerate(steps):
        pairing.step(step)
        if walks and number % 7 == 6:
            pairing.walk()
        if orders and number % 9 == 4:
            pairing.sweep(orders[number // 9 % len(orders)])
    pairing.check_state()


def test_oracle_and_c_agree_over_time(core: Core) -> None:
    """With a clock that goes on, tables that overflow, and the walk in between."""
    compare_over_time(core)


@settings(PROFILE, max_examples=max(1, FRAMES // PER_SEQUENCE // 5))
@given(
    policy=POLICIES,
    capacity=st.sampled_from((5, 64)),
    shift=st.integers(0, 2),
    orders=ORDERS,
    steps=plain_steps_of(2 * PER_SEQUENCE),
)
def _compare_cross(
    core: Core, policy: str, capacity: int, shift: int, orders: list[Order], steps: list[Step]
) -> None:
    made = setup("master", "session", policy)  # type: ignore[arg-type]
    pairing = Pairing(
        core,
        replace(
            made,
            times=QUICK,
            slots={0: Slot(0, 0), 1: Slot(0, 0)},
            entries=[number % 2 for number in range(len(made.entries))],
            capacity=capacity,
            ask_id=None,
            outers=3,
            outer_entries=[(number + shift) % 3 for number in range(OUTER_SIZE)],
        ),
    )
    for number, step in enumerate(steps):
        pairing.step(step)
        if orders and number % 9 == 4:
            pairing.sweep(orders[number // 9 % len(orders)])
    pairing.check_state()


def test_oracle_and_c_agree_on_sides_of_many_endpoints(core: Core) -> None:
    _compare_cross(core)


@settings(PROFILE, max_examples=max(1, FRAMES // 10))
@given(
    frame=frames(),
    beside=st.none() | st.sampled_from((0, 5, 100)),
    affinity=AFFINITIES,
    forward=st.booleans(),
)
def _compare_parse(core: Core, frame: bytes, beside: int | None, affinity: str, forward: bool) -> None:
    ours = coarsen(parse(frame, beside), affinity, forward)  # type: ignore[arg-type]
    theirs = core.parse(frame, beside, affinity, forward)
    assert theirs.kind == ours.kind
    assert theirs.reason == ours.reason
    assert theirs.key == (ours.key.pack() if ours.key else None)
    assert theirs.fragment == (ours.fragment.pack() if ours.fragment else None)
    assert theirs.tcp_flags == ours.tcp_flags


def test_oracle_and_c_parse_alike(core: Core) -> None:
    _compare_parse(core)


def test_the_clock_wraps(core: Core) -> None:
    """After 49 days the C's clock begins again at 0; ages are differences."""
    pairing = Pairing(core, replace(setup("master"), times=QUICK))
    pairing.now = (1 << 32) - 200
    syn = bytes.fromhex(
        "02000000000202000000000108004500002800010000400666cd0a0000010a000002"
    ) + bytes.fromhex("03e8005000000000000000005002200000000000")
    for wait in (0, 150, 100, 150, 2000):
        pairing.step(Step(syn, wait=wait))
    assert pairing.oracle.counts["session_placed"] == 2
    assert pairing.c.counts["session_revived"] == 1
