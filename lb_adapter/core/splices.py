"""One set-up for all: the oracle, the C core in user space, and the BPF programs run frame by frame.

`Splice(setup)`, `Core.splice(setup)` and `BpfSplice(choice)` are twins: `outer` and `inner` take a frame, and
say what becomes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from catenary import maglev
from catenary.chain import PairState
from catenary.session import SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter import abi
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.core.oracle_pin import Times
from lb_adapter.core.setup import Setup, Slot, Verdict
from lb_adapter.dataplane.base import Affinity, Policy, Role, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane

OUTER, INNER = 11, 12
PAGE = 3500
"""Bytes of a frame that the kernel surely takes for a test run: it and its overhead lie in one page."""
_REDIRECT = 7
_REASONS = {value: name for name, value in abi.REASONS.items()}


@dataclass(frozen=True)
class Choice:
    """A splice with `pairs` in slots 0, 1, ...; all of generation 1 and weight 100."""

    role: Role
    pairs: tuple[TagPair, ...]
    states: tuple[PairState, ...]
    timeouts: Timeouts
    ask_id: int = 4094
    affinity: Affinity = "session"
    policy: Policy = "maglev"

    def table(self) -> ChainTable:
        rows = tuple(
            Pair(tags, slot, 1, 100, 100, state, 0.0)
            for slot, (tags, state) in enumerate(zip(self.pairs, self.states, strict=True))
        )
        return ChainTable(1, rows, {row.slot: 1 for row in rows})

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
        )


@cache
def entries_of(
    placement: tuple[tuple[int, tuple[str, int]], ...], size: int = maglev.SIZE
) -> tuple[int | None, ...]:
    """The hash table of a placement's items, as the oracle has it: None where there is no chain."""
    filled = maglev.fill(dict(placement), size).tolist()
    return tuple(None if entry == maglev.EMPTY else entry for entry in filled)


class BpfSplice:
    """The BPF programs by BPF_PROG_TEST_RUN: without any interface, by the kernel's clock. Needs root."""

    def __init__(self, choice: Choice, *, capacity: int = 4096) -> None:
        self.plane = EbpfDataPlane(pins=capacity)
        self.configure(choice)
        self.plane.apply(choice.table())

    def configure(self, choice: Choice) -> None:
        config = SpliceConfig(
            choice.role,
            "outer",
            "inner",
            choice.ask_id,
            choice.timeouts,
            affinity=choice.affinity,
            policy=choice.policy,
        )
        self.plane.configure(config, outer=OUTER, inner=INNER)

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
        return int(struct.unpack("=Q", value)[0]) if value else 0

    def set_word(self, key: bytes, word: int, *, fragment: bool = False) -> None:
        name, raw = ("fragments", key) if fragment else _place(key)
        self.plane.object.map(name).set(raw, struct.pack("=Q", word))

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


def runnable(frame: bytes) -> bool:
    """Does the kernel take it for a test run? It wants a page at most, and a whole IP header if any."""
    headers = {b"\x08\x00": 34, b"\x86\xdd": 54}
    return headers.get(frame[12:14], 14) <= len(frame) <= PAGE


def tagged(vid: int, frame: bytes) -> bytes:
    return frame[:12] + struct.pack("!HH", 0x8100, vid) + frame[12:]


def without_slot(verdict: Verdict) -> Verdict:
    """What can be compared with BPF's."""
    return replace(verdict, slot=None)


def _place(key: bytes) -> tuple[str, bytes]:
    """The map in which a session's pin lies, and its key there."""
    small = abi.shrink(SessionKey.unpack(key))
    return ("pins4", small) if small else ("pins6", key)
