"""The self-test: what is to carry packets shows first, on tables of its own, that it decides as the oracle.

Each frame of `core/probes.py` goes through the program and through the oracle, set up alike as master and as
slave, with every affinity and with a classifier. After each one verdict, frame out, pin and all counters must
be equal.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from catenary.errors import InvalidValue
from lb_adapter.balancer import ChainTable
from lb_adapter.core.oracle import coarsen, parse
from lb_adapter.core.oracle_pin import FOREIGN, State
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.probes import ASK, MASTER, PAIRS, PASSING, PROBED, RULES, SLAVE, STATES, TIMEOUTS, Probe
from lb_adapter.core.setup import Verdict
from lb_adapter.core.splices import BpfSplice, Choice, WorkerSplice, shown, tagged
from lb_adapter.dataplane.base import Affinity, Policy, Role, TakeOver
from lb_adapter.dataplane.ebpf import OBJECT, PROGRAMS
from lb_adapter.dataplane.worker import PROGRAM

_NOW = 1_000_000_000
_PINS = 1024
_WAYS: tuple[tuple[Affinity, Policy], ...] = (
    ("session", "p2c"),
    ("addresses", "maglev"),
    ("client", "maglev"),
)
_ROLES: tuple[Role, ...] = ("master", "slave")
CHOICES = (
    *(Choice(role, PAIRS, STATES, TIMEOUTS, ASK, *way, probes=PROBED) for role in _ROLES for way in _WAYS),
    Choice("master", PAIRS, STATES, TIMEOUTS, ASK, rewrites=True, probes=PROBED),
    *(Choice("master", PAIRS, PASSING, TIMEOUTS, ASK, *way, rules=RULES, probes=PROBED) for way in _WAYS[:2]),
)


@dataclass(frozen=True)
class Passed:
    """What a self-test took, and the tags of what it tested if that was BPF programs."""

    frames: int
    seconds: float
    tags: dict[str, str] = field(default_factory=dict)


class Subject(Protocol):
    """What is tested: a splice that is set up already. Slots are None where it does not tell them."""

    def outer(self, frame: bytes) -> tuple[Verdict, bytes]: ...
    def inner(self, frame: bytes) -> tuple[Verdict, bytes]: ...
    def word(self, key: bytes) -> int: ...
    def set_word(self, key: bytes, word: int) -> None: ...
    def counts(self) -> dict[str, int]: ...
    def set_overflow(self, overflow: bool) -> None: ...
    def set_take_over(self, state: TakeOver) -> None: ...


def check_bpf(program: Path = OBJECT) -> Passed:
    """Load a BPF object over tables of its own and test it; `InvalidValue` names the first difference."""
    began, frames = time.monotonic(), 0
    with closing(BpfSplice(CHOICES[0], capacity=_PINS, program=program)) as splice:
        last = CHOICES[0]
        for choice in CHOICES:
            splice.set_overflow(False)
            splice.set_take_over(TakeOver.NONE)
            splice.configure(choice)
            # The other role reads tags the other way round: all are written anew.
            if (choice.role, choice.table()) != (last.role, last.table()):
                splice.plane.apply(ChainTable(1, (), {}))
                splice.plane.apply(choice.table())
            last = choice
            oracle = _compare(str(program), choice, splice, shown_inner=True)
            splice.forget(list(oracle.pins), list(oracle.fragments))
            frames += len(_probes(choice.role))
        tags = {name: splice.plane.object.program(name).tag for name in PROGRAMS}
    return Passed(frames, time.monotonic() - began, tags)


def check_worker(plane: str, program: Path = PROGRAM) -> Passed:
    """The same for a worker's binary, which gets frames in the form that its data plane has."""
    began, frames = time.monotonic(), 0
    for choice in CHOICES:
        with closing(WorkerSplice(choice, beside=plane == "af_packet", program=program)) as splice:
            _compare(str(program), choice, splice, shown_inner=False)
            frames += len(_probes(choice.role))
    return Passed(frames, time.monotonic() - began)


def _probes(role: Role) -> tuple[Probe, ...]:
    return MASTER if role == "master" else SLAVE


def _compare(what: str, choice: Choice, subject: Subject, *, shown_inner: bool) -> Splice:
    """Send all probes through both; the oracle as it is then, or `InvalidValue`."""
    oracle, before = Splice(choice.setup(capacity=_PINS)), Counter(subject.counts())
    for probe in _probes(choice.role):
        inner, frame, key = probe.inner or probe.vid is not None, probe.frame, _key_of(choice, probe)
        if probe.vid is not None:
            frame = tagged(probe.vid, frame)
        if oracle.overflow != probe.overflow:
            oracle.overflow = probe.overflow
            subject.set_overflow(probe.overflow)
        if oracle.take_over is not probe.take_over:
            oracle.take_over = probe.take_over
            subject.set_take_over(probe.take_over)
        if probe.age:
            _age(key, probe.age * 1000, oracle, subject)
        # A key of several sessions has no tombstone: they could not all be told.
        if probe.foreign or (probe.reset and choice.affinity == "session"):
            _turn(key, reset=probe.reset, oracle=oracle, subject=subject)
        verdict, out = oracle.inner(frame, _NOW) if inner else oracle.outer(frame, _NOW)
        if shown_inner:
            out = shown(out, verdict.port, inner=inner)
        pin = oracle.pins.get(key)
        expected = _outcome(verdict, out, oracle.counts, pin.word() if pin else 0)
        verdict, out = subject.inner(frame) if inner else subject.outer(frame)
        word = subject.word(key) if key else 0
        got = _outcome(verdict, out, Counter(subject.counts()) - before, word)
        if got != expected:
            differ = [pair for pair in zip(expected, got, strict=True) if pair[0] != pair[1]]
            wanted, found = ("; ".join(words) for words in zip(*differ, strict=True))
            raise InvalidValue(
                f"{what} fails its self-test as {choice.role}, affinity {choice.affinity}, at the frame "
                f"{probe.name!r}: expected {wanted}; got {found}. It was not switched in"
            )
    return oracle


def _key_of(choice: Choice, probe: Probe) -> bytes:
    """The key of the frame's session, empty if it has none."""
    forward = (choice.role == "master") is (probe.vid is None)
    key = coarsen(parse(probe.frame), choice.affinity, forward).key
    return key.pack() if key is not None else b""


def _age(key: bytes, older: int, oracle: Splice, subject: Subject) -> None:
    """Make a session's pin older by so many ms, if there is one, at both."""
    pin = oracle.pins.get(key)
    if pin is not None:
        oracle.pins[key] = pin._replace(seen=pin.seen - older)
        word = subject.word(key)
        subject.set_word(key, word >> 32 << 32 | (word - older) & 0xFFFFFFFF)


def _turn(key: bytes, *, reset: bool, oracle: Splice, subject: Subject) -> None:
    """Make a session's pin a tombstone, or the other load balancer's, at both."""
    pin = oracle.pins.get(key)
    if pin is not None:
        turned = pin._replace(state=State.RESET, fins=0) if reset else pin._replace(outer=FOREIGN)
        oracle.pins[key] = turned
        subject.set_word(key, turned.word() >> 32 << 32 | subject.word(key) & 0xFFFFFFFF)


def _outcome(verdict: Verdict, out: bytes, counts: Counter[str], word: int) -> tuple[str, ...]:
    """All that is compared after a frame, in words; of the pin all but its time."""
    tag = f", tag {verdict.vid}" if verdict.vid else ""
    port = f"{verdict.port} port{tag}" if verdict.port else "dropped"
    counted = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    return f"{port} ({verdict.reason})", f"counters {counted}", f"pin {word >> 32:08x}", f"frame {out.hex()}"
