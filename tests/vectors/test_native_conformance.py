"""The user-space loop of af_packet and pf_ring (native/packet.h) against the oracle: frames of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_adapter import abi
from lb_adapter.core.check import PORTS
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Verdict
from lb_adapter.core.splices import INNER, OUTER, Choice, tagged
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.segment import ffi
from tests.planes import Step, choose
from tests.vectors.reading import read_all
from tests.vectors.test_conformance import (
    AFFINITIES,
    FRAMES,
    PER_SEQUENCE,
    POLICIES,
    PROBED,
    PROFILE,
    steps_of,
)

HEADROOM, ROOM = 64, 16384
REASONS = {number: name for name, number in abi.REASONS.items()}


class NativeSplice:
    """The twin of the oracle's Splice over `splice_frame`; its clock is the machine's."""

    def __init__(self, choice: Choice) -> None:
        self.plane = NativeDataPlane("af_packet", pins=1024)
        self.plane.configure(choice.config(), outer=OUTER, inner=INNER)
        self.plane.apply(choice.table())
        self._fresh = bytes(self._memory())
        self._buffer = ffi.new("uint8_t[]", HEADROOM + ROOM)

    def _memory(self) -> Any:
        segment = self.plane.segment
        return ffi.buffer(segment.pointer, segment.lib.segment_bytes(segment.pins, segment.threads))

    def clear(self) -> None:
        self._memory()[:] = self._fresh

    def run(self, port: int, frame: bytes, beside: int | None) -> tuple[Verdict, bytes]:
        ffi.memmove(self._buffer + HEADROOM, frame, len(frame))
        length, raw = ffi.new("uint32_t *", len(frame)), ffi.new("uint16_t[5]")
        tpid, tci = (0, 0) if beside is None else (0x8100, beside)
        segment = self.plane.segment
        begin = segment.lib.splice_frame(
            segment.pointer, port, self._buffer, length, tpid, tci, ffi.NULL, raw
        )
        slot = None if raw[3] == abi.NO_SLOT else int(raw[3])
        verdict = Verdict(PORTS[raw[0]], int(raw[1]), REASONS[raw[2]], slot)
        return verdict, bytes(ffi.buffer(self._buffer + begin, length[0])) if verdict.port else b""

    def word(self, key: bytes) -> int:
        segment = self.plane.segment
        return int(segment.lib.pin_find(segment.pointer, ffi.from_buffer("struct session_key *", key)))


@pytest.fixture(scope="module")
def natives() -> Iterator[dict[Choice, NativeSplice]]:
    made: dict[Choice, NativeSplice] = {}
    yield made
    for splice in made.values():
        splice.plane.close()


def compare(natives: dict[Choice, NativeSplice], choice: Choice, steps: list[Step]) -> None:
    if choice not in natives:
        natives[choice] = NativeSplice(choice)
    native, oracle, now = natives[choice], Splice(choice.setup(capacity=1024)), 1_000_000
    native.clear()
    for step in steps:
        if step.vid is None:
            ours = oracle.outer(step.frame, now, step.beside)
            theirs = native.run(1, step.frame, step.beside)
        elif step.beside is not None:
            ours = oracle.inner(step.frame, now, step.vid)
            theirs = native.run(2, step.frame, step.vid)
        else:
            frame = tagged(step.vid, step.frame)
            ours, theirs = oracle.inner(frame, now), native.run(2, frame, None)
        if (
            step.vid is None or len(step.frame) >= 14
        ):  # how a runt on the inner port is called, they may differ
            assert theirs == ours, step
    for key, pin in oracle.pins.items():
        assert native.word(key) >> 32 == pin.word() >> 32


@settings(PROFILE, max_examples=max(1, FRAMES // PER_SEQUENCE // 4))
@given(
    role=st.sampled_from(("master", "slave")),
    affinity=AFFINITIES,
    policy=POLICIES,
    passing=st.booleans(),
    probed=PROBED,
    steps=steps_of(PER_SEQUENCE),
)
def _compare(
    natives: dict[Choice, NativeSplice],
    role: str,
    affinity: str,
    policy: str,
    passing: bool,
    probed: bool,
    steps: list[Step],
) -> None:
    choice = choose(role, affinity, policy, passing=passing, probed=probed)  # type: ignore[arg-type]
    compare(natives, choice, [replace(step, wait=0) for step in steps])


def test_native_loop_agrees_with_the_oracle(natives: dict[Choice, NativeSplice]) -> None:
    _compare(natives)


@pytest.mark.parametrize("role", ["master", "slave"])
@pytest.mark.parametrize("affinity", ["session", "addresses", "client"])
def test_native_loop_and_the_golden_vectors(
    role: str, affinity: str, natives: dict[Choice, NativeSplice]
) -> None:
    frames = [(vector.frame, vector.beside) for vector in read_all()]
    steps = [Step(frame, beside=beside) for frame, beside in frames if len(frame) < ROOM]
    compare(natives, choose(role, affinity), steps)  # type: ignore[arg-type]
