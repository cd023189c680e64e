"""One set-up for all: the oracle, the C core in user space, and the BPF programs run frame by frame.

`Splice(setup)`, `Core.splice(setup)` and `BpfSplice(choice)` are twins: `outer` and `inner` take a frame, and
say what becomes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from catenary import maglev
from catenary.chain import PairState
from catenary.classifier import Rule
from catenary.session import SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter import abi, records
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.core.check import PORTS, story
from lb_adapter.core.oracle_pin import Story, Times
from lb_adapter.core.setup import Ends, Setup, Slot, Verdict
from lb_adapter.dataplane.base import Affinity, Policy, Role, SpliceConfig, TakeOver
from lb_adapter.dataplane.ebpf import OBJECT, EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.segment import ffi
from lb_adapter.dataplane.worker import PROGRAM, Tester

OUTER, INNER = 11, 12
PAGE = 3500
"""Bytes of a frame that the kernel surely takes for a test run: it and its overhead lie in one page."""
_REDIRECT = 7
_REASONS = {value: name for name, value in abi.REASONS.items()}


@dataclass(frozen=True)
class Choice:
    """A splice with `pairs` in slots 0, 1, ...; all of generation 1 and weight 100.

    With `rules` the last pair is the bypass.
    """

    role: Role
    pairs: tuple[TagPair, ...]
    states: tuple[PairState, ...]
    timeouts: Timeouts
    ask_id: int = 4094
    affinity: Affinity = "session"
    policy: Policy = "maglev"
    rewrites: bool = False
    rules: tuple[Rule, ...] = ()
    probes: Ends | None = None

    def config(self) -> SpliceConfig:
        """The same for a data plane without interfaces."""
        return SpliceConfig(
            self.role,
            "outer",
            "inner",
            self.ask_id,
            self.timeouts,
            affinity=self.affinity,
            policy=self.policy,
            rewrites=self.rewrites,
            probes=self.probes,
        )

    def table(self) -> ChainTable:
        bypass = len(self.pairs) - 1 if self.rules else None
        rows = tuple(
            Pair(tags, slot, 1, 100, 100, state, 0.0, slot == bypass)
            for slot, (tags, state) in enumerate(zip(self.pairs, self.states, strict=True))
        )
        return ChainTable(1, rows, {row.slot: 1 for row in rows}, rules=self.rules)

    def setup(self, *, capacity: int = 4096) -> Setup:
        """The same for the oracle and the C core."""
        table = self.table()
        entries = entries_of(tuple(table.placement().items()) if self.role == "master" else ())
        slots = {row.slot: Slot(*row.tags.ids, row.generation, row.state.value) for row in table.pairs}
        return Setup(
            self.role,
            Times.of(self.timeouts),
            slots,
            entries,
            table.designated,
            self.ask_id,
            self.affinity,
            self.policy,
            capacity,
            rewrites=self.rewrites,
            rules=self.rules,
            bypass=table.bypass,
            probes=self.probes,
        )


@cache
def entries_of(
    placement: tuple[tuple[int, tuple[str, int]], ...], size: int = maglev.SIZE
) -> tuple[int | None, ...]:
    """The hash table of a placement's items, as the oracle has it: None where there is no chain."""
    filled = maglev.fill(dict(placement), size).tolist()
    return tuple(None if entry == maglev.EMPTY else entry for entry in filled)


P = TypeVar("P", EbpfDataPlane, NativeDataPlane)


class _OnPlane(Generic[P]):
    """What a twin has of a real data plane."""

    plane: P

    def counts(self) -> dict[str, int]:
        """By reason, since it was made."""
        return self.plane.counters()

    def set_overflow(self, overflow: bool) -> None:
        self.plane.set_overflow(overflow)

    def set_take_over(self, state: TakeOver) -> None:
        self.plane.set_take_over(state)


class BpfSplice(_OnPlane[EbpfDataPlane]):
    """The BPF programs by BPF_PROG_TEST_RUN: without any interface, by the kernel's clock. Needs root."""

    def __init__(self, choice: Choice, *, capacity: int = 4096, program: Path = OBJECT) -> None:
        self.plane = EbpfDataPlane(pins=capacity, program=program)
        self.configure(choice)
        self.plane.apply(choice.table())

    def configure(self, choice: Choice) -> None:
        """Set up anew; the chain set and the sessions stay."""
        self.plane.configure(choice.config(), outer=OUTER, inner=INNER)

    def outer(self, frame: bytes) -> tuple[Verdict, bytes]:
        """As `oracle_splice.Splice.outer`; the slot is not known."""
        return self._run("outer", frame)

    def inner(self, frame: bytes) -> tuple[Verdict, bytes]:
        return self._run("inner", frame)

    def _run(self, program: str, frame: bytes) -> tuple[Verdict, bytes]:
        run = self.plane.object.program(program).run(frame)
        sent = run.verdict == _REDIRECT
        port = {OUTER: "outer", INNER: "inner"}[run.cb[2]] if sent else ""
        out = run.frame if sent else b""
        if sent and run.cb[1]:
            out = tagged(run.cb[1], out)  # a pushed tag lies beside the frame
        return Verdict(port, run.cb[1], _REASONS[run.cb[0]]), out

    def word(self, key: bytes, *, fragment: bool = False) -> int:
        """The word of a pin, or of a fragment's key; 0 if there is none."""
        name, raw = ("fragments", key) if fragment else _place(key)
        value = self.plane.object.map(name).get(raw)
        return int(struct.unpack_from("=Q", value)[0]) if value else 0

    def set_word(self, key: bytes, word: int, *, fragment: bool = False) -> None:
        name, raw = ("fragments", key) if fragment else _place(key)
        there = self.plane.object.map(name)
        fresh = bytes(there.value_size) if fragment else abi.pack("pin", check=records.check(key))
        there.set(raw, struct.pack("=Q", word) + (there.get(raw) or fresh)[8:])

    def story(self, key: bytes) -> Story | None:
        """What is told of a session's pin; None if there is none."""
        name, raw = _place(key)
        value = self.plane.object.map(name).get(raw)
        return story(abi.unpack("pin", value)) if value else None

    def forget(self, keys: Sequence[bytes], fragments: Sequence[bytes]) -> None:
        """Delete these sessions and fragments, and count live sessions from 0 again."""
        for key in keys:
            name, raw = _place(key)
            self.plane.object.map(name).delete(raw)
        for key in fragments:
            self.plane.object.map("fragments").delete(key)
        for slot in range(8):
            self.plane.object.map("loads").set(struct.pack("=I", slot), bytes(8))

    def close(self) -> None:
        self.plane.close()


class WorkerSplice(_OnPlane[NativeDataPlane]):
    """A worker's binary, frame by frame over a segment of its own: without any interface, by its clock.

    `beside`: as af_packet hands frames over, the outermost tag beside them; else as pf_ring does.
    """

    def __init__(self, choice: Choice, *, beside: bool, program: Path = PROGRAM) -> None:
        self._beside = beside
        self.plane = NativeDataPlane("af_packet", pins=1024, threads=1)
        self.plane.configure(choice.config(), outer=OUTER, inner=INNER)
        self.plane.apply(choice.table())
        self._tester = Tester(program, self.plane.segment.fd)

    def outer(self, frame: bytes) -> tuple[Verdict, bytes]:
        """As `oracle_splice.Splice.outer`; the slot is not known."""
        return self._run(1, frame, (0, 0))

    def inner(self, frame: bytes) -> tuple[Verdict, bytes]:
        if self._beside and frame[12:14] == b"\x81\x00":
            tpid, tci = struct.unpack("!HH", frame[12:16])
            return self._run(2, frame[:12] + frame[16:], (tpid, tci))
        return self._run(2, frame, (0, 0))

    def _run(self, port: int, frame: bytes, beside: tuple[int, int]) -> tuple[Verdict, bytes]:
        (to, vid, reason), out = self._tester.run(port, frame, beside)
        sent = PORTS[to] if to < len(PORTS) else f"unknown port {to}"
        return Verdict(sent, vid, _REASONS.get(reason, f"unknown reason {reason}")), out if sent else b""

    def word(self, key: bytes) -> int:
        """The word of a pin; 0 if there is none."""
        segment = self.plane.segment
        return int(segment.lib.pin_find(segment.pointer, _c_key(key)))

    def set_word(self, key: bytes, word: int) -> None:
        """Change a pin that is there."""
        segment = self.plane.segment
        segment.lib.pin_set(segment.pointer, _c_key(key), word)

    def close(self) -> None:
        self._tester.close()
        self.plane.close()


def _c_key(key: bytes) -> Any:
    return ffi.from_buffer("struct session_key *", bytearray(key))


def runnable(frame: bytes) -> bool:
    """Does the kernel take it for a test run? It wants a page at most, and a whole IP header if any."""
    headers = {b"\x08\x00": 34, b"\x86\xdd": 54}
    return headers.get(frame[12:14], 14) <= len(frame) <= PAGE


def shown(out: bytes, port: str, *, inner: bool) -> bytes:
    """How a test run shows a frame that is sent as `out` to `port`. `inner`: it came in by the inner port."""
    if inner and port == "outer" and out[12:14] in (b"\x81\x00", b"\x88\xa8"):
        return out[:12] + out[16:]  # the user's tag lies beside it since ours was popped
    return out


def tagged(vid: int, frame: bytes) -> bytes:
    return frame[:12] + struct.pack("!HH", 0x8100, vid) + frame[12:]


def without_slot(verdict: Verdict) -> Verdict:
    """What can be compared with BPF's."""
    return replace(verdict, slot=None)


def _place(key: bytes) -> tuple[str, bytes]:
    """The map in which a session's pin lies, and its key there."""
    small = abi.shrink(SessionKey.unpack(key))
    return ("pins4", small) if small else ("pins6", key)
