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
POLICIES = st.sampled_from(("maglev", "p2c"))
PROFILE = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    print_blob=False,
)


def steps_of(size: int) -> st.SearchStrategy[list[Step]]:
    # Half a lifetime of anything at most, and often nothing: sessions must both live and end.
    waits = st.sampled_from((0, 0, 0, 10, 150, 201, 250, 401, 700, 2100))
    step = st.builds(Step, frames(), st.sampled_from(VIDS), st.none() | st.sampled_from((0, 5)), waits)
    return st.lists(step, min_size=size, max_size=size)


@settings(PROFILE, max_examples=max(1, FRAMES // PER_SEQUENCE))
@given(
    role=st.sampled_from(("master", "slave")),
    affinity=AFFINITIES,
    policy=POLICIES,
    steps=steps_of(PER_SEQUENCE),
)
def _compare_three(trios: dict[str, Trio], role: str, affinity: str, policy: str, steps: list[Step]) -> None:
    plain = [replace(step, wait=0, beside=None) for step in steps]
    trios[role].run(choose(role, affinity, policy), plain)  # type: ignore[arg-type]


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
    asks=st.booleans(),
    designated=st.sampled_from((0, 0, None, 3)),
    walks=st.booleans(),
    weight=st.sampled_from((0, 100, 300)),
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
    asks: bool,
    designated: int | None,
    walks: bool,
    weight: int,
    steps: list[Step],
) -> None:
    made = setup(role, affinity, policy)  # type: ignore[arg-type]
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
    for number, step in enumerate(steps):
        pairing.step(step)
        if walks and number % 7 == 6:
            pairing.walk()
    pairing.check_state()


def test_oracle_and_c_agree_over_time(core: Core) -> None:
    """With a clock that goes on, tables that overflow, and the walk in between."""
    compare_over_time(core)


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
