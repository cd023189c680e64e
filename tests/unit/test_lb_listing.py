"""Lists of sessions against brute force: every order, filters together, page by page while time goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest

from catenary import wire
from catenary.chain import PairState
from catenary.config import ServiceConfig
from catenary.session import SessionKey, Timeouts
from catenary.tags import TagPair
from lb_adapter import abi, records
from lb_adapter.balancer import ChainTable, Pair
from lb_adapter.core.oracle_pin import Pin, State
from lb_adapter.dataplane import ring
from lb_adapter.dataplane.base import Batch
from lb_adapter.listing import Listing, SessionQuery
from mgmt_system.current import Current
from mgmt_system.peers import Peers
from mgmt_system.sessions import Sessions, Wanted
from tests.unit.mgmt_fakes import Site, network_text

TIMES = Timeouts(udp=3000, tcp_opening=3000, tcp_established=4000, tcp_closing=3000, other=3000)
ONE, TWO, GONE = TagPair(2, 3), TagPair(4, 5), TagPair(6, 7)
TABLE = ChainTable(
    1, (Pair(ONE, 0, 1, 100, 100, PairState.ACTIVE, 0.0), Pair(TWO, 1, 7, 100, 100, PairState.COOLING, 0.0))
)
SLOTS = {ONE: (0, 1), TWO: (1, 7), GONE: (1, 6)}
"""The slot of the chain that is gone is another chain's."""
BOOT = 1_700_000_000_000
"""When the clock of the data plane was 0, in ms since the epoch."""
NOW = 2**32 + 100_000
"""On that clock, but for its 32 bits: they wrapped not long ago."""
SORTS: tuple[wire.SessionSort, ...] = get_args(wire.SessionSort)


@dataclass(frozen=True)
class Made:
    """A session; moments in ms of the data plane's clock. One that is over has its `end`."""

    key: SessionKey
    tags: TagPair
    state: wire.SessionState
    placed: int
    seen: int
    bytes: int
    end: int | None = None

    def alive(self, now: int) -> bool:
        there = self.tags != GONE or self.state == "reset"
        return there and now - self.seen < 1000 * TIMES.hold(self.state)

    def place(self, sort: str, now: int) -> tuple[float, int]:
        """Where it stands in a list that begins with the largest, `now` being when its first page was."""
        age = (now if self.end is None else self.end) - self.placed
        rate = self.bytes / max(age / 1000, 1)
        largest = {"age": -self.placed, "idle": -self.seen, "bytes": self.bytes, "rate": rate}
        return -largest[sort], self.key.hash64()

    def pin(self) -> Any:
        pin = np.zeros(1, dtype=records.PIN)[0]
        pin["word"] = Pin(*SLOTS[self.tags], State[self.state.upper()], self.seen).word()
        pin["bytes"], pin["packets"] = self.bytes, 1
        pin["origin"]["at_ms"], pin["origin"]["other"] = self.placed % 2**32, abi.NO_SLOT
        return pin


def batch(made: list[Made]) -> Batch:
    keys = np.array([list(one.key.pack()) for one in made], dtype=np.uint8)
    return Batch(keys, np.array([one.pin() for one in made], dtype=records.PIN))


def rows(made: list[Made]) -> ring.Rows:
    made_of = batch(made)
    found = np.zeros(len(made), dtype=ring.ROW)
    found["key"], found["pin"] = made_of.keys, made_of.pins
    found["at_ms"] = [(one.end or 0) % 2**32 for one in made]
    found["why"] = abi.ENDINGS.index("expired")
    return found


@dataclass
class Shelf:
    """A data plane that has just these sessions, in two batches."""

    made: list[Made]
    now: int = NOW
    listing: Listing = field(init=False)

    def __post_init__(self) -> None:
        self.live = [one for one in self.made if one.end is None]
        self.batches = [batch(part) for part in (self.live[::2], self.live[1::2])]
        self.over = rows([one for one in self.made if one.end is not None])
        wall = lambda: (BOOT + self.now) / 1000  # noqa: E731
        self.listing = Listing(self, lambda: self.now / 1000, wall)  # type: ignore[arg-type]

    def now_ms(self) -> int:
        return self.now % 2**32

    def sessions(self, key: SessionKey | None = None) -> Iterator[Batch]:
        if key is None:
            yield from self.batches
        elif mine := [one for one in self.live if one.key == key]:
            yield batch(mine)

    def ended(self, key: SessionKey | None = None) -> ring.Rows:
        wanted = (
            slice(None) if key is None else [made.key == key for made in self.made if made.end is not None]
        )
        return self.over[wanted]

    def page(self, query: SessionQuery) -> tuple[list[wire.SessionEntry], str | None]:
        return self.listing.page(query, self.listing.look(TABLE, TIMES))

    def list_sessions(self, tags: str | None, **wanted: Any) -> list[wire.SessionEntry]:
        """As the REST call of a master, and over the wire."""
        query = SessionQuery(tags=None if tags is None else TagPair.parse(tags), **wanted)
        return [
            wire.SessionEntry.model_validate_json(entry.model_dump_json()) for entry in self.page(query)[0]
        ]


def make(count: int, seed: int) -> list[Made]:
    """Live ones, expired ones, ones of a chain that is gone, and ones that ended; many are equals."""
    rng, made = random.Random(seed), []
    for number in range(count):
        key = SessionKey.parse(f"10.{seed}.{number // 200}.{number % 200 + 1}:4000 -> 10.9.0.1:80/tcp")
        state: wire.SessionState = rng.choice(["other", "udp", "opening", "established", "closing", "reset"])
        age = rng.choice([rng.randrange(7_000_000), 500 * rng.randrange(20)])
        idle = rng.choice([0, rng.randrange(age + 1)])
        over = rng.choice([None, None, rng.randrange(60_000)])
        now = NOW - (over or 0)
        made.append(
            Made(
                key,
                rng.choice([ONE, ONE, TWO, TWO, GONE]),
                state,
                now - age,
                now - idle,
                rng.choice([0, 60, rng.randrange(5_000)]),
                None if over is None else now,
            )
        )
    return made


def expected(made: list[Made], query: SessionQuery, now: int = NOW) -> list[str]:
    """By the obvious way. What expires while pages are read is not among the sessions of these tests."""

    def wanted(one: Made) -> bool:
        at = now if one.end is None else one.end
        shown = one.alive(now) if one.end is None else True
        return (
            shown
            and query.ended is (one.end is not None)
            and query.tags in (None, one.tags)
            and query.state in (None, one.state)
            and at - one.placed >= 1000 * query.older
            and at - one.seen >= 1000 * query.idle
        )

    return [one.key.text for one in sorted(filter(wanted, made), key=lambda one: one.place(query.sort, now))]


MADE = make(200, 1)
FILTERS: list[dict[str, Any]] = [
    {},
    {"tags": ONE},
    {"tags": TWO, "state": "established"},
    {"older": 5.0, "idle": 2.0},
    {"tags": ONE, "older": 100.0},
    {"state": "reset", "idle": 1.0},
    {"tags": TWO, "state": "udp", "older": 1.0, "idle": 0.5},
]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_are_what_brute_force_finds(sort: wire.SessionSort, *, ended: bool) -> None:
    shelf = Shelf(MADE)
    for filters, limit in product(FILTERS, (3, 1000)):
        query = SessionQuery(sort=sort, ended=ended, limit=limit, **filters)
        found, after = list[str](), None
        while True:
            entries, after = shelf.page(SessionQuery(**{**vars(query), "after": after}))
            found += [entry.key for entry in entries]
            assert len(entries) == limit or after is None
            if after is None:
                break
        assert found == expected(MADE, query), (filters, limit)
        assert found or "tags" in filters or "state" in filters


def test_what_is_told_of_one() -> None:
    live = next(one for one in MADE if one.end is None and one.alive(NOW) and one.state == "established")
    over = next(one for one in MADE if one.end is not None and one.tags == TWO and one.state == "udp")
    shelf = Shelf(MADE)
    look = shelf.listing.look(TABLE, TIMES)
    for one, at in ((live, NOW), (over, over.end or 0)):
        entry = shelf.listing.one(one.key, look)
        assert (entry.key, entry.state, entry.bytes) == (one.key.text, one.state, one.bytes)
        assert entry.tags == wire.Tags.of(one.tags)
        assert (entry.age, entry.idle) == ((at - one.placed) / 1000, (at - one.seen) / 1000)
        assert (entry.origin.placed, entry.seen) == ((BOOT + one.placed) / 1000, (BOOT + one.seen) / 1000)
        assert entry.rate == pytest.approx(one.bytes / max(entry.age, 1), abs=0.001)


LASTING = [one for one in make(300, 2) + make(300, 3) if one.end is not None or one.state == "established"]
"""None of them expires while pages are read."""


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_over_two_segments_while_time_goes_on(sort: wire.SessionSort, *, ended: bool) -> None:
    near = Shelf([one for one in LASTING if one.key.text.find("10.2.") >= 0])
    far = Shelf([one for one in LASTING if one not in near.made])
    text = network_text().replace("main: {", "far: {master: l3, slave: l4, ask_id: 4093}\n  main: {")
    text = text.replace("balancers:", "balancers:\n" + MORE)
    peers = Peers(None, {"l1": near, "l3": far})  # type: ignore[arg-type, dict-item]
    now = NOW
    sessions = Sessions(peers, Current(ServiceConfig.load(text)), Site().ledger, lambda: (BOOT + now) / 1000)
    found, after = list[str](), None
    while True:
        items, after = sessions.list(Wanted(sort=sort, ended=ended, limit=20, after=after))
        found += [item.key for item in items]
        if after is None:
            break
        now += 2_500
        near.now = far.now = now
    every = expected(LASTING, SessionQuery(sort=sort, ended=ended))
    assert sorted(found) == sorted(every)
    places = {one.key.text: one.place(sort, NOW)[0] for one in LASTING}
    assert [places[key] for key in found] == [places[key] for key in every]


MORE = """
  l3: {switch: s3, outer: o, inner: i, url: "http://127.0.0.1:8"}
  l4: {switch: s4, outer: o, inner: i, url: "http://127.0.0.1:9"}"""
