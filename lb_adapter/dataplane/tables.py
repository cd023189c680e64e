"""What all data planes write into their tables, and in which order; a subclass knows where the tables lie."""

from __future__ import annotations

import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, get_args

import numpy as np

from catenary import maglev
from catenary.chain import Condition, PairState
from catenary.classifier import Rule
from catenary.errors import InvalidValue
from catenary.session import Timeouts
from catenary.tags import TagPair
from lb_adapter import abi
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.core.setup import Ends
from lb_adapter.dataplane import rules as classifier
from lb_adapter.dataplane.base import (
    PINS_MAX,
    PINS_MIN,
    Affinity,
    Policy,
    Probed,
    SpliceConfig,
    TakeOver,
    Traffic,
)
from lb_adapter.dataplane.drift import Drift
from lb_adapter.dataplane.ports import interface_name

_STATES = {
    PairState.ACTIVE: abi.SLOT_STATES["SLOT_ACTIVE"],
    PairState.COOLING: abi.SLOT_STATES["SLOT_COOLING"],
    PairState.CLOSED: abi.SLOT_STATES["SLOT_CLOSED"],
    PairState.DRAINED: abi.SLOT_STATES["SLOT_CLOSED"],
}
_CONDITIONS = (Condition.UP, Condition.DOWN, Condition.SHUT)
FREE = abi.SLOT_STATES["SLOT_FREE"]
_REFUSE = abi.enum("refuse")


def _state_of(pair: Pair) -> int:
    """For the packets' side a chain that is down cools down, and one that is shut is closed."""
    if pair.condition is Condition.SHUT:
        return _STATES[PairState.CLOSED]
    down = pair.condition is Condition.DOWN and pair.state is PairState.ACTIVE
    return _STATES[PairState.COOLING if down else pair.state]


def check_pins(pins: int) -> None:
    """Raise `InvalidValue` unless `pins` is a size that a session table may have."""
    if not PINS_MIN <= pins <= PINS_MAX:
        raise InvalidValue(f"session table of {pins} is out of bounds: use {PINS_MIN}..{PINS_MAX}")


class SpliceTables(ABC):
    """Configuration and chain set of one splice. Rows are bytes of the C structs of `core/abi.h`."""

    def __init__(self) -> None:
        self._applied: dict[int, Pair] = {}
        self._rules: tuple[Rule, ...] = ()
        self._placement: Mapping[int, tuple[str, int]] | None = None
        self._entries = np.full(abi.TABLE_SIZE, abi.NO_SLOT, dtype=np.uint16)
        self._splice: SpliceConfig | None = None
        self._drift = Drift(abi.MAX_SLOTS)

    @abstractmethod
    def _settings(self) -> Any:
        """`struct config` where the packets' side reads it, all zero before the first `_write_settings`."""

    @abstractmethod
    def _read_slots(self) -> list[bytes]: ...
    @abstractmethod
    def _write_slot(self, slot: int, row: bytes) -> None: ...
    @abstractmethod
    def _write_vid(self, vid: int, row: bytes) -> None: ...
    @abstractmethod
    def _write_place_table(self, row: bytes) -> None:
        """Switch to this table at once and as a whole, then wait for who is still at work by the other."""

    @abstractmethod
    def _read_place_table(self) -> bytes:
        """The one in force."""

    @abstractmethod
    def _zero_traffic(self) -> None: ...
    @abstractmethod
    def _read_traffic(self) -> Sequence[int]:
        """New sessions by what the classifier said of them, of all CPUs or threads together."""

    @abstractmethod
    def _zero_counters(self, slot: int) -> None: ...
    @abstractmethod
    def _counters_of(self, slot: int) -> Any:
        """Rows of `struct chain_counters`, one for each CPU or thread."""

    @abstractmethod
    def _read_probed(self, slot: int) -> Any:
        """`struct probed` of a slot."""

    @abstractmethod
    def _read_epoch(self) -> int: ...
    @abstractmethod
    def _write_epoch(self, epoch: int) -> None: ...

    def overflow(self) -> bool:
        return bool(self._settings().overflow)

    def set_overflow(self, overflow: bool, *, roomy: bool = False) -> None:
        self._settings().overflow = abi.overflow(overflow, roomy=roomy)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        self._settings().refuse_full |= _REFUSE["REFUSE_NOW"]
        try:
            self._write_place_table(self._read_place_table())  # whoever has not seen it is done after this
            yield
        finally:
            self._settings().refuse_full &= ~_REFUSE["REFUSE_NOW"]

    def take_over(self) -> TakeOver:
        return TakeOver(self._settings().take_over)

    def set_take_over(self, state: TakeOver) -> None:
        self._settings().take_over = state

    def _write_settings(self, config: SpliceConfig, outer: int, inner: int) -> None:
        """Write `struct config` and what the ask ID means. `outer` and `inner` are interface indices."""
        row = abi.pack(
            "config",
            miss=abi.enum("miss")["MISS_PLACE" if config.role == "master" else "MISS_ASK"],
            affinity=abi.enum("affinity")[f"AFFINITY_{config.affinity.upper()}"],
            policy=abi.enum("policy")[f"POLICY_{config.policy.upper()}"],
            outers=1,
            outer_ifindex=[outer],
            inner_ifindex=inner,
            ask_vid=config.ask_id or 0,
            **timing(config.timeouts),
            refuse_full=_REFUSE["REFUSE_ALWAYS"] if config.refuse_full else 0,
            rewrites=config.rewrites,
            probe=abi.probe_words(config.probes),
        )
        before, self._splice = self._splice, config
        abi.ffi.memmove(self._settings(), row, abi.ffi.offsetof("struct config", "overflow"))
        if before is not None and before.ask_id not in (None, config.ask_id):
            self._set_vid(before.ask_id or 0, "VID_UNKNOWN", 0)
        if config.ask_id is not None:
            self._set_vid(config.ask_id, "VID_ASK" if config.role == "master" else "VID_OWN", 0)

    def adopt(self) -> ChainTable:
        pairs: list[Pair] = []
        generations: dict[int, int] = {}
        states = {value: state for state, value in _STATES.items() if state is not PairState.DRAINED}
        for slot, raw in enumerate(self._read_slots()):
            row = abi.unpack("slot", raw)
            if row.generation:
                generations[slot] = row.generation
            if row.state != FREE:
                tags = TagPair(row.tx, row.rx) if self._places() else TagPair(row.rx, row.tx)
                since = row.since_ms / 1000
                condition = _CONDITIONS[row.condition]
                state = states[row.state] if condition is Condition.UP else PairState.ACTIVE
                weights = row.weight, row.placed
                pairs.append(
                    Pair(tags, slot, row.generation, *weights, state, since, bool(row.bypass), condition)
                )
        self._applied = {pair.slot: pair for pair in pairs}
        self._rules = classifier.read(abi.unpack("place_table", self._read_place_table()))
        table = ChainTable(self._read_epoch(), tuple(pairs), generations, rules=self._rules)
        if self._places():
            self._fill(table.placement())
        return table

    def apply(self, table: ChainTable) -> None:
        wanted = {pair.slot: pair for pair in table.pairs}
        opened = [
            p
            for p in table.pairs
            if p.state is PairState.ACTIVE and p.condition is Condition.UP and self._applied.get(p.slot) != p
        ]
        for pair in opened:
            self._open(pair)
        self._swap_table(table)
        for pair in table.pairs:
            if pair not in opened and self._applied.get(pair.slot) != pair:
                self._open(pair)
        for slot, pair in self._applied.items():
            if slot not in wanted:
                self._close(pair)
        self._applied = wanted
        self._write_epoch(table.epoch)

    def _open(self, pair: Pair) -> None:
        """Write a pair's slot, then the meaning of its tags. A new generation starts its counters anew."""
        old = self._applied.get(pair.slot)
        if old is None or old.generation != pair.generation:
            self._zero_counters(pair.slot)
        tx, rx = pair.tags.ids if self._places() else reversed(pair.tags.ids)
        self._write_slot(
            pair.slot,
            abi.pack(
                "slot",
                tx=tx,
                rx=rx,
                generation=pair.generation,
                state=_state_of(pair),
                weight=pair.weight,
                placed=pair.placed,
                bypass=pair.bypass,
                condition=_CONDITIONS.index(pair.condition) if pair.state is PairState.ACTIVE else 0,
                since_ms=round(pair.since * 1000) & 0xFFFFFFFF,
            ),
        )
        # (in_port, VID) tells all kinds apart, for the slave never else sends f_i nor the master r_i.
        master = self._places()
        self._set_vid(pair.tags.reverse, "VID_CHAIN" if master else "VID_ANSWER", pair.slot)
        self._set_vid(pair.tags.forward, "VID_HINT" if master else "VID_CHAIN", pair.slot)

    def _places(self) -> bool:
        """Is this the master's splice? The slave's tags are the other way round."""
        return bool(self._settings().miss == abi.enum("miss")["MISS_PLACE"])

    def _close(self, pair: Pair) -> None:
        for vid in pair.tags.ids:
            self._set_vid(vid, "VID_UNKNOWN", 0)
        self._write_slot(pair.slot, abi.pack("slot", generation=pair.generation, state=FREE))

    def _set_vid(self, vid: int, kind: str, slot: int) -> None:
        self._write_vid(vid, abi.pack("vid", kind=abi.VID_KINDS[kind], slot=slot))

    def _swap_table(self, table: ChainTable) -> None:
        # The slave places nothing: only the designated slot matters there.
        placement = table.placement() if self._places() else {}
        self.place(placement, table.designated, table.epoch, table.rules, table.bypass)
        if table.rules != self._rules:
            self._zero_traffic()  # after the switch: what the old rules said is not counted as the new ones'
        self._rules = table.rules

    def place(
        self,
        placement: Mapping[int, tuple[str, int]],
        designated: int | None,
        epoch: int = 1,
        rules: Sequence[Rule] = (),
        bypass: int | None = None,
    ) -> None:
        """Switch to the hash table of `{slot: (name, weight)}`; `designated` carries what is no session.

        What agrees with none of the `rules` goes by `bypass`, unless that is None.
        """
        self._fill(placement)
        raw = bytearray(abi.ffi.sizeof("struct place_table"))
        item: Any = abi.ffi.from_buffer("struct place_table *", raw)
        item.epoch = epoch
        item.designated = abi.NO_SLOT if designated is None else designated
        classifier.write(item, rules, bypass)
        abi.ffi.buffer(item.entries)[:] = self._entries.tobytes()
        self._write_place_table(bytes(raw))

    def _fill(self, placement: Mapping[int, tuple[str, int]]) -> None:
        if placement != self._placement:
            self._entries, self._placement = (maglev.fill(placement, abi.TABLE_SIZE), placement)

    def probed(self, slot: int) -> Probed | None:
        row = self._read_probed(slot)
        return Probed(row.number, row.at_ns) if row.count else None

    def entries(self) -> Sequence[int | None]:
        return self._entries.data

    def entered(self) -> list[int]:
        counts = self._read_traffic()
        entries = 1 + max((rule.entry for rule in self._rules), default=-1)
        return [int(counts[1 + entry]) for entry in range(entries)]

    def traffic(self) -> dict[int, Traffic]:
        result: dict[int, Traffic] = {}
        for slot in self._applied:
            rows = self._counters_of(slot)
            result[slot] = Traffic(**{name: int(rows[name].sum()) for name in rows.dtype.names})
        return result


def timing(timeouts: Timeouts) -> dict[str, Any]:
    """The fields of `struct config` that are times; `tau_ms` is by `enum pin_state`."""
    tau = [timeouts.tau(state.removeprefix("PIN_").lower()) for state in abi.PIN_STATES]
    return {
        "lease_ms": round(timeouts.lease * 1000),
        "transit_ms": round(timeouts.transit * 1000),
        "tau_ms": [round(value * 1000) for value in tau],
    }


def read_settings(row: Any) -> SpliceConfig:
    """What `_write_settings` wrote into a `struct config`. A port that is gone has an empty name."""
    tau = [value / 1000 for value in row.tau_ms]
    other, udp, opening, established, closing, _, neighbour, _ = tau
    timeouts = Timeouts(
        opening, established, closing, udp, other, neighbour, row.lease_ms / 1000, row.transit_ms / 1000
    )
    return SpliceConfig(
        role="master" if row.miss == abi.enum("miss")["MISS_PLACE"] else "slave",
        outer=interface_name(row.outer_ifindex[0]) or "",
        inner=interface_name(row.inner_ifindex) or "",
        ask_id=row.ask_vid or None,
        timeouts=timeouts,
        affinity=_name(Affinity, "affinity", row.affinity),
        policy=_name(Policy, "policy", row.policy),
        refuse_full=bool(row.refuse_full & _REFUSE["REFUSE_ALWAYS"]),
        rewrites=bool(row.rewrites),
        probes=_probes(row),
    )


def _probes(row: Any) -> Ends | None:
    low, high = (IPv4Address(word.to_bytes(8, sys.byteorder)[4:]) for word in row.probe)
    return (low, high) if row.probe[0] else None


def _name(names: Any, enum: str, value: int) -> Any:
    """Of the literals in `names`, the one that this number of a C enum stands for."""
    return next(name for name in get_args(names) if abi.enum(enum)[f"{enum}_{name}".upper()] == value)


def number(value: int) -> bytes:
    """A __u32 of this host."""
    return struct.pack("=I", value)
