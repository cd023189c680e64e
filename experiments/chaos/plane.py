"""A data plane for the real daemons, made of the oracle: packets are decisions, time is the simulator's."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import numpy as np

from catenary.chain import PairState
from catenary.session import SessionKey
from catenary.tags import TagPair
from lb_adapter import abi, records
from lb_adapter.balancer import ChainTable
from lb_adapter.core import splices
from lb_adapter.core.oracle_pin import Pin, State, Times
from lb_adapter.core.oracle_splice import Splice
from lb_adapter.core.setup import Order, Setup, Slot
from lb_adapter.dataplane import ring
from lb_adapter.dataplane.base import Batch, Load, Probed, SpliceConfig, Swept, TakeOver, Traffic
from lb_adapter.records import PinRecords

SIZE = 509
"""Of the hash table: small, since there are few chains and many switches."""
entries_of = lru_cache(maxsize=64)(splices.entries_of)
"""Both ends fill the same table, and again at each change of their settings."""


class OraclePlane:
    """`lb_adapter.dataplane.base.DataPlane` over `oracle_splice.Splice`; `clock` is in ms."""

    name = "oracle"

    def __init__(self, clock: Callable[[], int], make: Callable[[Setup], Splice], capacity: int) -> None:
        self.capacity = capacity
        self.splice: Splice | None = None
        self._clock = clock
        self._make = make
        self._table = ChainTable()
        self._config: SpliceConfig | None = None
        self.swept: Callable[[Order, Mapping[bytes, TagPair]], None] = lambda order, ended: None
        """Is told which keys' pins an order has just changed, and of which pair they were."""
        self.forgot: Callable[[Collection[bytes]], None] = lambda keys: None
        """Is told which keys' tombstones overflow has just taken back."""

    def adopted_config(self, ports: tuple[str, str] | None = None) -> SpliceConfig | None:
        return self._config

    def configure(self, config: SpliceConfig) -> None:
        self._config = config
        self._set_up()

    def adopt(self) -> ChainTable:
        """As a real one has it: no resting IDs, and no difference between drained and closed."""
        pairs = tuple(
            replace(pair, state=PairState.CLOSED) if pair.state is PairState.DRAINED else pair
            for pair in self._table.pairs
        )
        return ChainTable(self._table.epoch, pairs, self._table.generations)

    def apply(self, table: ChainTable) -> None:
        self._table = table
        self._set_up()

    def _set_up(self) -> None:
        config, table = self._config, self._table
        assert config is not None, "a daemon configures its plane first"
        states = {PairState.DRAINED: PairState.CLOSED}
        setup = Setup(
            role=config.role,
            times=Times.of(config.timeouts),
            slots={
                pair.slot: Slot(
                    *pair.tags.ids,
                    pair.generation,
                    states.get(pair.state, pair.state).value,
                    pair.weight,
                    pair.placed,
                )
                for pair in table.pairs
            },
            entries=entries_of(tuple(table.placement().items()), SIZE),
            designated=table.designated,
            ask_id=config.ask_id,
            policy=config.policy,
            capacity=self.capacity,
            refuse_full=config.refuse_full,
            rewrites=config.rewrites,
            rules=table.rules,
            bypass=table.bypass,
        )
        if self.splice is None:
            self.splice = self._make(setup)
        else:
            self.splice.configure(setup)

    def walk(self) -> dict[int, Load]:
        if self.splice is None:
            return {}
        self.splice.walk(self._clock())
        states: dict[int, list[int]] = defaultdict(lambda: [0] * len(State))
        foreign: Counter[int] = Counter()
        tombstones = 0
        for pin in self.splice.pins.values():
            if pin.state is State.RESET:
                tombstones += 1
            elif self.splice.is_foreign(pin):
                foreign[pin.slot] += 1
            else:
                states[pin.slot][pin.state] += 1
        live = self.splice.loads
        return {
            slot: Load(
                sum(states[slot]), live[slot], foreign[slot], 0 if slot else tombstones, tuple(states[slot])
            )
            for slot in {0, *states, *foreign}
        }

    def sweep(self, order: Order) -> Swept:
        if self.splice is None:
            return Swept()
        before = dict(self.splice.pins)
        swept = Swept(*self.splice.sweep(order, self._clock()))
        after = self.splice.pins
        ended = {key: pin for key, pin in before.items() if after.get(key) != pin}
        if order.mode == "forget":
            self.forgot(ended.keys())
            return swept
        tags = {(pair.slot, pair.generation): pair.tags for pair in self._table.pairs}
        self.swept(order, {key: tags[pin.slot, pin.generation] for key, pin in ended.items()})
        return swept

    def pin_of(self, key: SessionKey) -> abi.Pin | None:
        pin = self.splice.pins.get(key.pack()) if self.splice else None
        return abi.Pin.of(struct.pack("=Q", pin.word())) if pin else None

    def entries(self) -> Sequence[int | None]:
        return () if self.splice is None else self.splice.setup.entries

    def live(self, slot: int) -> int:
        return 0 if self.splice is None else self.splice.loads[slot]

    def overflow(self) -> bool:
        return self.splice is not None and self.splice.overflow

    def set_overflow(self, overflow: bool, *, roomy: bool = False) -> None:
        assert self.splice is not None
        self.splice.overflow, self.splice.roomy = overflow, roomy

    @contextmanager
    def refusing(self) -> Iterator[None]:
        config = self._config
        assert config is not None, "a daemon configures its plane first"
        self.configure(replace(config, refuse_full=True))
        try:
            yield
        finally:
            self.configure(config)

    def take_over(self) -> TakeOver:
        return TakeOver.NONE if self.splice is None else self.splice.take_over

    def set_take_over(self, state: TakeOver) -> None:
        assert self.splice is not None
        self.splice.take_over = state

    def now_ms(self) -> int:
        return self._clock()

    def export(self, since_ms: int | None) -> Iterator[PinRecords]:
        pins = self.splice.pins if self.splice else {}
        words = b"".join(struct.pack("=Q", pin.word()) for pin in pins.values())
        batch = records.of(b"".join(pins), words)
        yield batch if since_ms is None else batch[records.seen_since(batch["word"], since_ms)]

    def sessions(self, key: SessionKey | None = None) -> Iterator[Batch]:
        for pins in self.export(None):
            if key is not None:
                pins = pins[[bytes(row) == key.pack() for row in pins["key"].tolist()]]
            if len(pins):
                yield Batch(pins["key"], records.copied(pins, self._clock(), 0))

    def ended(self, key: SessionKey | None = None) -> ring.Rows:
        return np.zeros(0, dtype=ring.ROW)

    def insert(self, pins: PinRecords) -> int:
        assert self.splice is not None
        held, written = self.splice.pins, 0
        for key, word in zip(pins["key"].tolist(), pins["word"], strict=True):
            if len(held) < self.capacity or bytes(key) in held:
                pin = Pin.of(int(word))
                seen = self._clock() + (pin.seen - self._clock() + (1 << 31)) % (1 << 32) - (1 << 31)
                held[bytes(key)] = pin._replace(seen=seen)
                written += 1
        return written

    def take_in(self, pins: PinRecords) -> None:
        assert self.splice is not None
        for key, word in zip(pins["key"], pins["word"], strict=True):
            self.splice.take_in(key.tobytes(), int(word), self._clock())

    def probed(self, slot: int) -> Probed | None:
        return None

    def traffic(self) -> dict[int, Traffic]:
        return {}

    def entered(self) -> list[int]:
        counts = self.splice.entered if self.splice else Counter[int]()
        return [
            counts[entry] for entry in range(1 + max((rule.entry for rule in self._table.rules), default=-1))
        ]

    def counters(self) -> dict[str, int]:
        counts = Counter(self.splice.counts) if self.splice else Counter()
        return {name: counts[name] for name in abi.REASONS}

    def attach(self) -> None:
        """Nothing to do: the world hands the packets over."""

    def detach(self) -> None:
        """Nothing to do."""
