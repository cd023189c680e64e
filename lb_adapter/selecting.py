"""Which sessions are shown, and in which order: a page of a million takes a few hundred ms. Pure.

Times are ms of the data plane's clock, modulo 2**32; ages are differences of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from catenary.session import Timeouts
from lb_adapter import abi, records
from lb_adapter.dataplane.base import Batch
from lb_adapter.records import Pins, field

Sort = Literal["age", "idle", "bytes", "rate"]
Floats = npt.NDArray[np.float64]
Ms = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
LIVE = 0xFFFFFFFF
"""In place of why a session ended."""
STATES: list[Any] = [name.removeprefix("PIN_").lower() for name in abi.PIN_STATES]
"""Names of the states of a pin, by their numbers."""


@dataclass(frozen=True)
class Place:
    """Where a page begins: behind this value of what it is sorted by, and of equals behind this hash.

    `moment`, in ms since the epoch: that of the first page. Rates fall with age, so all pages go by those of
    one moment.
    """

    value: float
    hash: int
    moment: int


@dataclass(frozen=True)
class Wanted:
    """The first `most` sessions of a slot and generation (None: all), of a state, as old and idle in ms."""

    sort: Sort = "age"
    most: int = 100
    slot: tuple[int, int] | None = None
    state: str | None = None
    older: int = 0
    idle: int = 0
    after: Place | None = None


@dataclass(frozen=True)
class Look:
    """What pins are judged by: when, and by which chain set and timeouts.

    `now_ms` is the data plane's clock, `moment` the same in ms since the epoch; `generations` are those of
    the slots in use.
    """

    now_ms: int
    moment: int
    generations: Mapping[int, int]
    timeouts: Timeouts

    def in_force(self, pins: Pins) -> Mask:
        """They name what is there, and have not expired."""
        words = pins["word"]
        states = field(words, "state")
        known = np.full(abi.MAX_SLOTS, -1, dtype=np.int64)
        known[list(self.generations)] = [number & 0x3FF for number in self.generations.values()]
        there = known[field(words, "slot")] == field(words, "generation")
        there |= states == STATES.index("reset")  # it belongs to no chain
        holds = np.array([round(1000 * self.timeouts.hold(state)) for state in STATES], dtype=np.int64)
        alive = (field(words, "dead") == 0) & (idle(pins, self.now(len(pins))) < holds[states])
        result: Mask = there & alive
        return result

    def now(self, count: int) -> npt.NDArray[np.uint32]:
        return np.full(count, self.now_ms & 0xFFFFFFFF, dtype=np.uint32)

    def moments(self, at: npt.NDArray[np.uint32]) -> Ms:
        """In ms since the epoch."""
        ago = (np.uint32(self.now_ms & 0xFFFFFFFF) - at).view(np.int32)
        return self.moment - ago.astype(np.int64)


@dataclass(frozen=True)
class Chosen:
    """Sessions in the order of a list, with the values and hashes that they are sorted by.

    Keys have 48 bytes. `at` is the moment at which each was such: that of the look, or of its end; then `why`
    says why it ended.
    """

    keys: npt.NDArray[np.uint8]
    pins: Pins
    at: npt.NDArray[np.uint32]
    why: npt.NDArray[np.uint32]
    values: Floats
    hashes: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.pins)

    def place(self, row: int, moment: int) -> Place:
        return Place(float(self.values[row]), int(self.hashes[row]), moment)

    def first(self, most: int) -> Chosen:
        order = np.lexsort((self.hashes, self.values))[:most]
        return Chosen(*(part[order] for part in vars(self).values()))


def idle(pins: Pins, at: npt.NDArray[np.uint32]) -> Ms:
    """ms since the last packet; of one that came after the look 0."""
    return _since(field(pins["word"], "seen").astype(np.uint32), at)


def ages(pins: Pins, at: npt.NDArray[np.uint32]) -> Ms:
    """ms since each was placed."""
    return _since(pins["origin"]["at_ms"], at)


def _since(begin: npt.NDArray[np.uint32], at: npt.NDArray[np.uint32]) -> Ms:
    return np.maximum((at - begin).view(np.int32), 0).astype(np.int64)


def rates(pins: Pins, age: Ms) -> Floats:
    """Bytes a second since each was placed; what is younger than a second is taken for that old."""
    result: Floats = pins["bytes"] / np.maximum(age / 1000, 1.0)
    return result


def live(batches: Iterable[Batch], wanted: Wanted, look: Look) -> Chosen:
    """Of pins in force those that are wanted."""
    found = [_none()]
    for batch in batches:
        now = look.now(len(batch.pins))
        why = np.full(len(now), LIVE, dtype=np.uint32)
        found.append(_select(batch, now, why, look.in_force(batch.pins), wanted, look))
    return _joined(found).first(wanted.most)


def over(rows: npt.NDArray[np.void], wanted: Wanted, look: Look) -> Chosen:
    """Of sessions that ended, rows of `struct ended`, those that are wanted."""
    batch = Batch(rows["key"], rows["pin"])
    return _select(batch, rows["at_ms"], rows["why"], np.ones(len(rows), dtype=bool), wanted, look)


def _select(
    batch: Batch,
    at: npt.NDArray[np.uint32],
    why: npt.NDArray[np.uint32],
    kept: Mask,
    wanted: Wanted,
    look: Look,
) -> Chosen:
    pins, words = batch.pins, batch.pins["word"]
    age, quiet = ages(pins, at), idle(pins, at)
    if wanted.slot is not None:
        slot, generation = wanted.slot
        kept = kept & (field(words, "slot") == slot) & (field(words, "generation") == generation & 0x3FF)
    if wanted.state is not None:
        kept = kept & (field(words, "state") == STATES.index(wanted.state))
    places = np.flatnonzero(kept & (age >= wanted.older) & (quiet >= wanted.idle))
    moments, alive = look.moments(at[places]), why[places] == LIVE
    values = _values(wanted, pins[places], moments, age[places], quiet[places], alive)
    if wanted.after is not None:
        behind = values > wanted.after.value
        equal = np.flatnonzero(values == wanted.after.value)
        hashes = records.hashes(records.full_keys(batch.keys[places[equal]]))
        behind[equal] = hashes > np.uint64(wanted.after.hash)
        places, values = places[behind], values[behind]
    if len(places) > wanted.most:
        # All that may be among the first, equals at the edge included: only these need their keys.
        near = values <= np.partition(values, wanted.most - 1)[wanted.most - 1]
        places, values = places[near], values[near]
    keys = records.full_keys(batch.keys[places])
    found = Chosen(keys, pins[places], at[places], why[places], values, records.hashes(keys))
    return found.first(wanted.most)


def _values(wanted: Wanted, pins: Pins, moments: Ms, age: Ms, quiet: Ms, alive: Mask) -> Floats:
    """What a list is sorted by, the smallest first: in place of an age its beginning, which stays."""
    match wanted.sort:
        case "age":
            return (moments - age).astype(np.float64)
        case "idle":
            return (moments - quiet).astype(np.float64)
        case "bytes":
            return -pins["bytes"].astype(np.float64)
    if wanted.after is not None:
        age = np.where(alive, np.maximum(wanted.after.moment - (moments - age), 0), age)
    return -rates(pins, age)


def _none() -> Chosen:
    none = np.zeros(0, dtype=np.uint32)
    keys, pins = np.zeros((0, 48), dtype=np.uint8), np.zeros(0, dtype=records.PIN)
    return Chosen(keys, pins, none, none, none.astype(np.float64), none.astype(np.uint64))


def _joined(parts: list[Chosen]) -> Chosen:
    return Chosen(
        *(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True))
    )
