"""Every golden vector against the oracle, the C core and the BPF programs."""

from __future__ import annotations

import time

import pytest

from lb_adapter.core.check import Core
from lb_adapter.core.oracle import coarsen, parse
from lb_adapter.core.oracle_pin import Pin, State
from lb_adapter.core.setup import Verdict
from lb_adapter.core.splices import BpfSplice, runnable, tagged
from tests.planes import GENERATION, PAIRS, choose
from tests.vectors.reading import Vector, build, read_all

VECTORS = read_all()
IDS = [vector.name for vector in VECTORS]
RUNNABLE = [vector for vector in VECTORS if runnable(vector.frame)]
EVERY = pytest.mark.parametrize("vector", VECTORS, ids=IDS)


def test_there_are_vectors_of_every_file() -> None:
    assert len(VECTORS) >= 190
    assert len(set(IDS)) == len(IDS)


@EVERY
def test_frame_is_what_scapy_makes(vector: Vector) -> None:
    assert vector.frame == build(vector.scapy)


@EVERY
def test_oracle(vector: Vector) -> None:
    parsed = coarsen(parse(vector.frame, vector.beside), vector.affinity, vector.forward)
    assert parsed.kind == vector.kind
    assert parsed.reason == vector.reason
    assert (parsed.key.pack() if parsed.key else None) == vector.key
    assert (parsed.fragment.pack() if parsed.fragment else None) == vector.fragment
    assert parsed.tcp_flags == vector.tcp_flags


@EVERY
def test_c(vector: Vector, core: Core) -> None:
    parsed = core.parse(vector.frame, vector.beside, vector.affinity, vector.forward)
    assert parsed.kind == vector.kind
    assert parsed.reason == vector.reason
    assert parsed.key == vector.key
    assert parsed.fragment == vector.fragment
    assert parsed.tcp_flags == vector.tcp_flags


@pytest.mark.parametrize("vector", RUNNABLE, ids=[vector.name for vector in RUNNABLE])
def test_bpf(vector: Vector, bpf: dict[str, BpfSplice]) -> None:
    """What the programs parsed is seen by a pin put under the expected key: the frame must follow it."""
    if vector.beside is not None:
        _beside(vector, bpf["master"])
        return
    plane, vid = (bpf["master"], PAIRS[1].forward) if vector.forward else (bpf["slave"], PAIRS[1].reverse)
    plane.configure(choose("master" if vector.forward else "slave", vector.affinity))
    seen = Pin(1, GENERATION, State.ESTABLISHED, round(time.monotonic() * 1000)).word()
    keys = [vector.key] if vector.key else []
    fragments = [vector.fragment] if vector.fragment else []
    try:
        for key in keys:
            plane.set_word(key, seen)
        if vector.kind == "fragment" and vector.fragment:
            plane.set_word(vector.fragment, seen, fragment=True)
        verdict, out = plane.outer(vector.frame)
        if vector.kind == "bad":
            assert verdict == Verdict("", 0, vector.reason)
        elif vector.kind == "other":
            assert verdict == Verdict("inner", PAIRS[0].forward, "designated")
        else:
            assert verdict == Verdict("inner", vid, "to_chain")
            assert out == tagged(vid, vector.frame)
        if vector.fragment:
            assert plane.word(vector.fragment, fragment=True) >> 32 & 0x3FF == 1
    finally:
        plane.forget(keys, fragments)


def _beside(vector: Vector, plane: BpfSplice) -> None:
    """A tag comes beside the frame when the kernel pops the one before it."""
    plane.configure(choose("master", vector.affinity))
    assert vector.beside is not None
    frame = tagged(PAIRS[1].reverse, tagged(vector.beside, vector.frame))
    keys = [vector.key] if vector.key else []
    try:
        verdict, out = plane.inner(frame)
        assert verdict == Verdict("outer", 0, "to_outer" if vector.kind == "session" else "designated")
        assert out == vector.frame
        for key in keys:
            assert plane.word(key) >> 32 & 0x3FF == 1, "the reverse tag taught it"
    finally:
        plane.forget(keys, [])
