"""Sessions as a load balancer tells of them: pages of live and of ended ones, and one by its key."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from catenary import wire
from catenary.errors import InvalidValue, NotFound
from catenary.session import SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter import abi, records, selecting
from lb_adapter.balancer import ChainTable
from lb_adapter.dataplane import ring
from lb_adapter.dataplane.base import Batch, DataPlane
from lb_adapter.records import field
from lb_adapter.selecting import LIVE, STATES, Chosen, Look, Place, Wanted

Slot = tuple[int, int]
"""A slot and its generation."""
_PLACE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)_([0-9a-f]{16})_([0-9]{1,15})")
_POLICIES: dict[int, Any] = {
    number: name.removeprefix("POLICY_").lower() for name, number in abi.enum("policy").items()
}
_CHOSEN = ("placed", "asked")
"""Causes for which a policy was asked."""


@dataclass(frozen=True)
class SessionQuery:
    """What a page shows; times in seconds."""

    tags: TagPair | None = None
    state: wire.SessionState | None = None
    older: float = 0.0
    idle: float = 0.0
    sort: wire.SessionSort = "age"
    ended: bool = False
    limit: int = 100
    after: str | None = None


class Listing:
    """Reads a data plane beside its packets and its daemon: no lock is held. Any thread may ask.

    It remembers the tags of generations that are gone, for sessions that ended with them.
    """

    def __init__(
        self,
        plane: DataPlane,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._plane = plane
        self._clock = clock
        self._began = self._clock()
        self._began_ms = plane.now_ms()
        # Fixed once, so that the moment of a session is the same whenever it is told.
        self._offset = round(wall() * 1000) - self._began_ms
        self._tags: dict[Slot, TagPair] = {}

    def remember(self, table: ChainTable) -> None:
        """Keep the tags of its pairs; to be called whenever the chain set may be another one.

        By one thread at a time: readers go on beside it, over what there was.
        """
        tags = {(pair.slot, pair.generation & 0x3FF): pair.tags for pair in table.pairs}
        if not tags.items() <= self._tags.items():
            self._tags = self._tags | tags

    def look(self, table: ChainTable, timeouts: Timeouts) -> Look:
        """What to judge by now."""
        self.remember(table)
        now = self._plane.now_ms()
        # The data plane's clock begins again after 49 days; ours tells how often it did.
        turns = round((self._began_ms + 1000 * (self._clock() - self._began) - now) / 2**32)
        generations = {pair.slot: pair.generation for pair in table.pairs}
        return Look(now, now + turns * 2**32 + self._offset, generations, timeouts)

    def page(self, query: SessionQuery, look: Look) -> tuple[list[wire.SessionEntry], str | None]:
        """The entries of a page, and where the next one begins; None if there is no more."""
        wanted = self._wanted(query)
        if wanted is None:
            return [], None
        if query.ended:
            chosen = selecting.over(self._plane.ended(), wanted, look)
        else:
            chosen = selecting.live(self._plane.sessions(), wanted, look)
        entries = self._entries(chosen.first(query.limit), look)
        more = len(chosen) > query.limit
        moment = look.moment if wanted.after is None else wanted.after.moment
        return entries, _written(chosen.place(query.limit - 1, moment)) if more else None

    def one(self, key: SessionKey, look: Look) -> wire.SessionEntry:
        """A session by its key, the last of it if it ended; raises `NotFound`."""
        batches = list(self._plane.sessions(key))
        chosen = selecting.live(batches, Wanted(), look)
        if not len(chosen):
            # Read after the pins, so that what ends meanwhile is found. What has expired, and the walk has
            # not come by yet, is over all the same.
            mine = np.concatenate([self._plane.ended(key), _expired(batches, look)])
            last = mine[np.argsort(look.moments(mine["at_ms"]), kind="stable")[-1:]]
            chosen = selecting.over(last, Wanted(), look)
        if not len(chosen):
            raise NotFound(f"session {key.text} is not known here: it is over, or never came by")
        (entry,) = self._entries(chosen, look)
        return entry

    def _wanted(self, query: SessionQuery) -> Wanted | None:
        """None: nothing can be that."""
        slot = None
        if query.tags is not None:
            slots = [place for place, tags in list(self._tags.items()) if tags == query.tags]
            if not slots:
                return None
            slot = slots[-1]
        after = None if query.after is None else _read(query.after)
        older, idle = round(query.older * 1000), round(query.idle * 1000)
        return Wanted(query.sort, query.limit + 1, slot, query.state, older, idle, after)

    def _entries(self, chosen: Chosen, look: Look) -> list[wire.SessionEntry]:
        pins, words = chosen.pins, chosen.pins["word"]
        age, quiet = selecting.ages(pins, chosen.at), selecting.idle(pins, chosen.at)
        moments, rates = look.moments(chosen.at), selecting.rates(pins, age)
        slots, generations = field(words, "slot"), field(words, "generation")
        outers, states = field(words, "outer"), field(words, "state")
        entries = []
        for row, (key, pin) in enumerate(zip(chosen.keys, pins, strict=True)):
            state, moment, why = STATES[states[row]], int(moments[row]), int(chosen.why[row])
            origin = self._origin(pin["origin"], (moment - int(age[row])) / 1000)
            entries.append(
                wire.SessionEntry(
                    key=SessionKey.unpack(key.tobytes()).text,
                    state=state,
                    tags=None if state == "reset" else self._named((int(slots[row]), int(generations[row]))),
                    age=int(age[row]) / 1000,
                    idle=int(quiet[row]) / 1000,
                    seen=(moment - int(quiet[row])) / 1000,
                    packets=int(pin["packets"]),
                    bytes=int(pin["bytes"]),
                    rate=round(float(rates[row]), 3),
                    origin=origin,
                    foreign=bool(outers[row] == abi.FOREIGN),
                    ended=None
                    if why == LIVE
                    else wire.SessionEnd(ago=max(0, look.moment - moment) / 1000, why=abi.ENDINGS[why]),
                )
            )
        return entries

    def _origin(self, raw: Mapping[str, int], placed: float) -> wire.SessionOrigin:
        cause, other = abi.CAUSES[raw["cause"]], int(raw["other"])
        tags = None if other == abi.NO_SLOT else self._named((other, int(raw["other_generation"]) & 0x3FF))
        return wire.SessionOrigin(
            placed=placed,
            epoch=int(raw["epoch"]),
            cause=cause,
            policy=_POLICIES[int(raw["policy"])] if cause in _CHOSEN else None,
            load=int(raw["load"]),
            other=tags,
            other_load=None if other == abi.NO_SLOT else int(raw["other_load"]),
        )

    def _named(self, place: Slot) -> wire.Tags | None:
        tags = self._tags.get(place)
        return None if tags is None else wire.Tags.of(tags)


def _expired(batches: list[Batch], look: Look) -> npt.NDArray[np.void]:
    """Pins that are not in force any more, as they will stand among those that ended."""
    rows = np.zeros(sum(len(batch.pins) for batch in batches), dtype=ring.ROW)
    for row, batch in zip(rows, batches, strict=True):
        state = STATES[int(field(batch.pins["word"], "state")[0])]
        row["key"], row["pin"] = records.full_keys(batch.keys)[0], batch.pins[0]
        over = int(batch.pins["word"][0]) + round(1000 * look.timeouts.hold(state))
        late = (over - look.now_ms) % 2**32 > 2**31  # else its chain is gone, not its time
        row["at_ms"] = (over if late else look.now_ms) % 2**32
        row["why"] = abi.ENDINGS.index("closed" if state == "closing" else "expired")
    return rows


def _written(place: Place) -> str:
    return f"{place.value!r}_{place.hash:016x}_{place.moment}"


def _read(text: str) -> Place:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise InvalidValue(f"after: {text!r} is no place in this list: follow the Link of the page before")
    return Place(float(found[1]), int(found[2], 16), int(found[3]))
