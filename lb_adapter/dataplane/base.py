"""What every data plane offers: the same semantics, whatever carries the packets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from catenary.session import SessionKey, Timeouts
from lb_adapter.abi import Pin
from lb_adapter.balancer import ChainTable
from lb_adapter.core.setup import Ends, Order
from lb_adapter.records import PinRecords, Pins

PINS_MIN, PINS_MAX, PINS_DEFAULT = 1024, 16_000_000, 1_000_000
"""Bounds of the size of a session table, in sessions."""

Role = Literal["master", "slave"]
Affinity = Literal["session", "addresses", "client"]
Policy = Literal["maglev", "p2c"]
DataPlaneName = Literal["ebpf", "af_packet", "pf_ring"]


class TakeOver(IntEnum):
    """A master without its session table (affinity rule 8): `enum take_over` in core/abi.h.

    HOLD: it places nothing until its slave's table is copied. WATCH: it counts what was lost all the same.
    """

    NONE = 0
    HOLD = 1
    WATCH = 2


@dataclass(frozen=True)
class SpliceConfig:
    """How a splice is set up; `ask_id` is None at a slave that has not met its master."""

    role: Role
    outer: str
    inner: str
    ask_id: int | None
    timeouts: Timeouts
    affinity: Affinity = "session"
    policy: Policy = "p2c"
    refuse_full: bool = False
    rewrites: bool = False
    """Chains change keys (affinity rule 2): master only."""
    probes: Ends | None = None
    """Between these addresses are probes by IP, if there are such."""


@dataclass(frozen=True)
class Batch:
    """Sessions as they lie in a table: keys of 48 or of 16 bytes in rows, and beside each its pin."""

    keys: npt.NDArray[np.uint8]
    pins: Pins


@dataclass(frozen=True)
class Load:
    """What the walk over the session table counted for one slot.

    `pins`: in force, and the chain can't be drained. `live`: at the master those of sessions that are not
    closing, at the slave valid leases. `foreign`: pins that belong to the other load balancer (affinity rule
    2), which are in neither. The tombstones of all slots are counted for slot 0: theirs may be gone.
    `states` counts `pins` by `enum pin_state`.
    """

    pins: int = 0
    live: int = 0
    foreign: int = 0
    tombstones: int = 0
    states: tuple[int, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, row: Any) -> Self:
        """From a `struct walk_result`."""
        counted = (int(row.pins), int(row.live), int(row.foreign), int(row.tombstones))
        return cls(*counted, tuple(map(int, row.states)))

    @property
    def entries(self) -> int:
        """What all of it takes of the session table."""
        return self.pins + self.foreign + self.tombstones


@dataclass(frozen=True)
class Traffic:
    """Counters of one slot since its generation began; forward = client to server.

    `reset` and `moved` count its sessions that an order ended.
    """

    new_sessions: int = 0
    forward_packets: int = 0
    forward_bytes: int = 0
    reverse_packets: int = 0
    reverse_bytes: int = 0
    reset: int = 0
    moved: int = 0


@dataclass(frozen=True)
class Probed:
    """The last probe that came out of a chain: its number, and when, in ns of the monotonic clock."""

    number: int
    at_ns: int


@dataclass(frozen=True)
class Swept:
    """How many sessions an order reset, and moved or let go."""

    reset: int = 0
    moved: int = 0


class DataPlane(Protocol):
    """The packets' side of a load balancer. Calls are serialised by the daemon."""

    name: str
    capacity: int
    """Sessions that its table has room for."""

    def adopted_config(self, ports: tuple[str, str] | None = None) -> SpliceConfig | None:
        """What an earlier process configured, None if none did; `ports`: outer and inner, as they are now."""

    def configure(self, config: SpliceConfig) -> None:
        """Set or replace ports, ask ID and timeouts."""

    def adopt(self) -> ChainTable:
        """The chain set that the data plane still works by, empty if it is new."""

    def apply(self, table: ChainTable) -> None:
        """Make `table` the chain set: what is added works before it is used, the switch is atomic."""

    def walk(self) -> dict[int, Load]:
        """Reclaim expired pins and count the rest, by slot."""

    def sweep(self, order: Order) -> Swept:
        """End sessions by order, at once."""

    def pin_of(self, key: SessionKey) -> Pin | None:
        """What the table holds for a session, in force or not. Any thread may call it, and the next two."""

    def entries(self) -> Sequence[int | None]:
        """The hash table of new sessions. A slot that is not in use stands for no chain, as None does."""

    def live(self, slot: int) -> int:
        """Live sessions of a slot at this moment, as p2c weighs them."""

    def sessions(self, key: SessionKey | None = None) -> Iterator[Batch]:
        """All pins, or that of a session, in force or not, in batches. Any thread may call it."""

    def ended(self, key: SessionKey | None = None) -> npt.NDArray[np.void]:
        """Sessions that ended, or all of a key, as rows of `struct ended`, in no order. Any thread may call
        it."""

    def overflow(self) -> bool:
        """Is it placing by the plain hash alone (affinity rule 7)? It enters it by itself when full."""

    def set_overflow(self, overflow: bool, *, roomy: bool = False) -> None:
        """Enter or leave overflow; `roomy`: there is room again, so that the walk evicts nothing."""

    def refusing(self) -> AbstractContextManager[None]:
        """Meanwhile nothing is placed without a pin: what finds no room is refused.

        All that was placed so before it is entered shows in `overflow` and the counters from then on.
        """

    def take_over(self) -> TakeOver:
        """Is it without its session table, or was it lately?"""

    def set_take_over(self, state: TakeOver) -> None:
        """Hold, watch, or neither."""

    def now_ms(self) -> int:
        """The clock by which its pins age."""

    def export(self, since_ms: int | None) -> Iterator[PinRecords]:
        """All pins, or those seen since, in batches; some may be out of force. Any thread may call it."""

    def insert(self, pins: PinRecords) -> int:
        """Write these pins, in place of what is there: how many, for those that find no room are left out."""

    def take_in(self, pins: PinRecords) -> None:
        """Take in what the other load balancer has seen: it never takes the place of what was seen here."""

    def probed(self, slot: int) -> Probed | None:
        """The last probe out of a chain, if one ever came. Any thread may call it."""

    def traffic(self) -> dict[int, Traffic]:
        """Counters of all slots in use."""

    def entered(self) -> list[int]:
        """New sessions by the entry of the classifier in force; empty without one."""

    def counters(self) -> dict[str, int]:
        """Packets by reason (enum reason in core/abi.h)."""

    def attach(self) -> None:
        """Take the two ports: from now on every frame is spliced or dropped."""

    def detach(self) -> None:
        """Give the ports back."""
