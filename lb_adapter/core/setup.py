"""How a splice is set up and what it says: the values that the oracle, C and BPF have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from catenary.classifier import Rule
from catenary.session import SessionKey
from lb_adapter.core.oracle import Affinity
from lb_adapter.core.oracle_pin import Times

Ends = tuple[IPv4Address, IPv4Address]
OUTER_SIZE = 6421
"""Entries of the outer side's table."""


@dataclass(frozen=True)
class Slot:
    """An endpoint of the inner side: a chain by its tags, or a plain interface, whose tags are 0."""

    forward: int
    reverse: int
    generation: int = 1
    state: str = "active"
    """`active`, `cooling` or `closed`; a free slot is not in the table."""
    weight: int = 100
    placed: int = 100


@dataclass(frozen=True)
class Setup:
    """How a splice is set up. `entries` is the Maglev table, None where there is no chain."""

    role: str
    times: Times
    slots: Mapping[int, Slot]
    entries: Sequence[int | None]
    designated: int | None
    ask_id: int | None = 4094
    affinity: Affinity = "session"
    policy: str = "maglev"
    capacity: int = 1_000_000
    """Of the table of IPv4 keys, and of the other one."""
    refuse_full: bool = False
    rewrites: bool = False
    """Chains change keys."""
    rules: Sequence[Rule] = ()
    """Which traffic enters the chains."""
    bypass: int | None = None
    """The slot of what agrees with no rule; None: all enters."""
    probes: Ends | None = None
    """Addresses of probes by IP, if there are such."""
    outers: int = 1
    """Endpoints of the outer side."""
    outer_entries: Sequence[int] = (0,) * OUTER_SIZE
    """Where keys go out that came in by the inner side first, if there are several."""


@dataclass(frozen=True)
class Order:
    """An order to end sessions (`struct sweep`): those of `slot`, `key` and `idle` ms, each None for all.

    `forget` takes all tombstones away, and nothing else.
    """

    mode: Literal["reset", "delete", "move", "forget"]
    slot: tuple[int, int] | None = None
    """With its generation."""
    idle: int = 0
    to: tuple[int, int] | None = None
    """Where `move` takes a session: a slot and its generation."""
    key: SessionKey | None = None


@dataclass(frozen=True)
class Verdict:
    """Send the frame out of `port`, with the tag `vid` unless that is 0; no port: drop it."""

    port: str
    vid: int
    reason: str
    slot: int | None = None
    outer: int = 0
    """The endpoint, if it goes to the outer side."""
