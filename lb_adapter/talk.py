"""What is said to a master about its pair, and what it is to do then: the messages of `peering`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lb_adapter.balancer import ChainTable
from lb_adapter.dataplane.base import TakeOver

# --- what is said to a master ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ticked:
    """Time goes on. `pins` are those in force here, by slot, counted just now; None if they were not."""

    pins: Mapping[int, int] | None


@dataclass(frozen=True)
class Seen:
    """The slave's health: which process it is, its epoch, the master that it follows, and its clock."""

    slave: str
    epoch: int
    master: str | None
    term: int = 0
    slave_term: int = 0
    clock_ms: int = 0


@dataclass(frozen=True)
class Chains:
    """The slave's chain set."""

    table: ChainTable


@dataclass(frozen=True)
class Copied:
    """The slave's pins seen at `since_ms` or later, or all, are in the table here.

    The copy was begun at `begun_ms` of the slave's clock.
    """

    since_ms: int | None
    begun_ms: int


@dataclass(frozen=True)
class Exchanged:
    """Each side has what the other saw until then (ms of the other's clock), when it was `begun` (s)."""

    theirs_ms: int
    ours_ms: int
    begun: float


@dataclass(frozen=True)
class Accepted:
    """The slave has this chain set in force."""

    slave: str
    epoch: int


@dataclass(frozen=True)
class Adopted:
    """Our own data plane has it in force."""


@dataclass(frozen=True)
class Counted:
    """Pins in force here, and valid leases at the slave, by slot; the slave counted under `epoch`."""

    epoch: int
    pins: Mapping[int, int]
    leases: Mapping[int, int]


@dataclass(frozen=True)
class Propose:
    """Make this the chain set of the pair. `forced`: even if that moves what lives by the hash."""

    table: ChainTable
    forced: bool = False


@dataclass(frozen=True)
class Failed:
    """What was to be done could not be done, or nobody knows whether it was."""

    reason: str


Said = Ticked | Seen | Chains | Copied | Exchanged | Accepted | Adopted | Counted | Propose | Failed

# --- what a master is to do ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """Ask for the slave's health: `Seen`."""


@dataclass(frozen=True)
class FetchChains:
    """Ask for the slave's chain set: `Chains`."""


@dataclass(frozen=True)
class FetchPins:
    """Copy the slave's pins, those seen at `since_ms` or later, or all: `Copied`."""

    since_ms: int | None


@dataclass(frozen=True)
class Exchange:
    """Rule 2: take in the slave's pins and send it ours, those seen since, or all: `Exchanged`."""

    theirs_ms: int | None
    ours_ms: int | None
    begun: float


@dataclass(frozen=True)
class Greet:
    """Tell this process of the slave who its master is, the settings, and this chain set: `Accepted`."""

    slave: str
    table: ChainTable


@dataclass(frozen=True)
class Tell:
    """Tell the slave this chain set: `Accepted`."""

    table: ChainTable


@dataclass(frozen=True)
class Adopt:
    """Put it in force in the own data plane: `Adopted`; `forced` as proposed."""

    table: ChainTable
    forced: bool = False


@dataclass(frozen=True)
class Count:
    """Ask for the slave's leases: `Counted`."""


@dataclass(frozen=True)
class SetTakeOver:
    """Have the own data plane hold, watch, or neither."""

    state: TakeOver


Act = Look | FetchChains | FetchPins | Exchange | Greet | Tell | Adopt | Count | SetTakeOver
