"""Sessions of all segments: lists, single ones, and orders to reset or move one.

The masters know; a list of what the slaves hold may be had, too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from catenary import wire
from catenary.errors import Conflict, InvalidValue, NotFound, Unavailable
from catenary.session import SessionKey
from catenary.tags import TagPair
from catenary.wire import SegmentSession, SessionEntry, SessionSort, SessionState
from mgmt_system.capture import At
from mgmt_system.current import Current
from mgmt_system.journal import Event
from mgmt_system.peers import Balancer, Peers
from mgmt_system.records import SELF, Author, ChainRecord
from mgmt_system.store.ledger import Ledger

T = TypeVar("T")
WORKERS = 8
_PLACE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)_([0-9a-f]{16})_([0-9]{1,15})_(.+)")
_FIRST, _LAST = "0" * 16, "f" * 16
_BEFORE_ALL = -1e300


@dataclass(frozen=True)
class Wanted:
    """What a list shows; times in seconds. It is of one `chain`, of one `segment`, or of all, as the
    load balancers `at` that side of their segments hold them."""

    chain: str | None = None
    segment: str | None = None
    state: SessionState | None = None
    older: float = 0.0
    idle: float = 0.0
    sort: SessionSort = "age"
    ended: bool = False
    limit: int = 100
    after: str | None = None
    at: At = "master"


class Sessions:
    """Asks the load balancers. The ledger has the chains' names, and its journal tells of orders.

    `clock` gives seconds since the epoch.
    """

    def __init__(
        self, peers: Peers, network: Current, ledger: Ledger, clock: Callable[[], float] = time.time
    ) -> None:
        self._peers = peers
        self._network = network
        self._ledger = ledger
        self._clock = clock

    def list(self, wanted: Wanted) -> tuple[list[SegmentSession], str | None]:
        """A page over the wanted segments, and where the next one begins; None if there is no more."""
        segments, tags = self._segments(wanted.segment), None
        if wanted.chain is not None:
            record = self._chain(wanted.chain, wanted.segment)
            segments, tags = [record.segment], record.chain.tags
        if wanted.after is None:
            after = Place(_BEFORE_ALL, "", _FIRST, round(1000 * self._clock()))
        else:
            after = _read(wanted.after)

        def ask(segment: str) -> list[SessionEntry]:
            return self._balancer(segment, wanted.at).list_sessions(
                tags=None if tags is None else tags.path,
                state=wanted.state,
                older=wanted.older,
                idle=wanted.idle,
                sort=wanted.sort,
                ended=wanted.ended,
                limit=wanted.limit + 1,
                after=after.at(segment),
            )

        records = self._ledger.snapshot().chains
        places = {
            Place.of(entry, wanted.sort, segment, after.moment): _named(segment, entry, records)
            for segment, entries in zip(segments, _each(ask, segments), strict=True)
            for entry in entries
        }
        order = sorted(places)
        shown = [places[place] for place in order[: wanted.limit]]
        return shown, str(order[wanted.limit - 1]) if len(order) > wanted.limit else None

    def show(self, key: str, segment: str | None) -> SegmentSession:
        """A session with its chain, the last of its key if it ended; raises `NotFound`, or `Conflict` if
        several segments have it."""
        name, entry = self._find(key, segment)
        return _named(name, entry, self._ledger.snapshot().chains)

    def end(self, request: wire.SessionRequest, *, author: Author = SELF) -> wire.SessionStatus:
        """Reset or move a session, and show what became of it."""
        self._ledger.ready()
        name, entry = self._find(request.key, request.segment)
        before = self._chain_of(name, entry.tags)
        order = wire.SessionOrder(key=request.key, mode=request.mode)
        view = self._master(name).end_session(order)
        after = wire.SessionStatus(**view.model_dump(), segment=name, chain=self._chain_of(name, view.tags))
        changes = {request.key: (before, after.chain)}
        self._ledger.tell(Event("session", author, changes, name, before, text=request.mode))
        return after

    def _master(self, segment: str) -> Balancer:
        return self._balancer(segment, "master")

    def _balancer(self, segment: str, at: At) -> Balancer:
        config = self._network.segments[segment]
        return self._peers.balancers[config.master if at == "master" else config.slave]

    def _segments(self, segment: str | None) -> Sequence[str]:
        segments = self._network.segments
        if segment is not None and segment not in segments:
            raise InvalidValue(f"unknown segment {segment!r}: this network has {', '.join(segments)}")
        return [segment] if segment is not None else [*segments]

    def _chain(self, name: str, segment: str | None) -> ChainRecord:
        """The latest chain of this name; raises `NotFound`."""
        for record in reversed(self._ledger.snapshot().chains):
            if record.name == name and segment in (None, record.segment):
                return record
        raise NotFound(f"unknown chain {name!r}: see catenary chain list")

    def _find(self, key: str, segment: str | None) -> tuple[str, SessionEntry]:
        found: dict[str, SessionEntry] = {}
        silent: Unavailable | None = None
        for name in self._segments(segment):
            try:
                found[name] = self._master(name).session(key)
            except NotFound:
                continue
            except Unavailable as error:
                silent = error
        live = {name: entry for name, entry in found.items() if entry.ended is None}
        if len(live) > 1:
            raise Conflict(f"session {key} goes through segments {', '.join(live)}: name one with --segment")
        if not found:
            raise silent or NotFound(f"session {key} is not known: it is over, or never came by")
        return min((live or found).items(), key=lambda item: item[1].ended.ago if item[1].ended else 0.0)

    def _chain_of(self, segment: str, tags: wire.Tags | None) -> str | None:
        return _name(segment, tags, None, self._ledger.snapshot().chains)


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands in a list over several segments, just as their masters order theirs.

    `moment`, in ms since the epoch: when its first page was asked for. Rates are those of then.
    """

    value: float
    segment: str
    hash: str
    moment: int

    @classmethod
    def of(cls, entry: SessionEntry, sort: SessionSort, segment: str, moment: int) -> Place:
        placed = round(entry.origin.placed * 1000)
        age = max(moment - placed, 0) if entry.ended is None else round(entry.age * 1000)
        values = {
            "age": placed,
            "idle": round(entry.seen * 1000),
            "bytes": -entry.bytes,
            "rate": -entry.bytes / max(age / 1000, 1.0),
        }
        return cls(float(values[sort]), segment, f"{SessionKey.parse(entry.key).hash64():016x}", moment)

    def at(self, segment: str) -> str:
        """The same place in the list of one segment's master."""
        equals = self.hash if segment == self.segment else _LAST if segment < self.segment else _FIRST
        return f"{self.value!r}_{equals}_{self.moment}"

    def __str__(self) -> str:
        return f"{self.value!r}_{self.hash}_{self.moment}_{self.segment}"


def _read(after: str) -> Place:
    found = _PLACE.fullmatch(after)
    if found is None:
        raise InvalidValue(f"after: {after!r} is no place in this list: follow the Link of the page before")
    return Place(float(found[1]), found[4], found[2], int(found[3]))


def _each(ask: Callable[[str], T], segments: Sequence[str]) -> list[T]:
    """Ask for all segments at once, each in the context of the request."""
    if len(segments) == 1:
        return [ask(segments[0])]
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(copy_context().run, ask, segment) for segment in segments]
        return [future.result() for future in futures]


def _named(segment: str, entry: SessionEntry, records: Sequence[ChainRecord]) -> SegmentSession:
    moment = None if entry.ended is None else entry.origin.placed
    return SegmentSession(
        **entry.model_dump(),
        segment=segment,
        chain=_name(segment, entry.tags, moment, records),
        other_chain=_name(segment, entry.origin.other, entry.origin.placed, records),
    )


def _name(
    segment: str, tags: wire.Tags | None, moment: float | None, records: Sequence[ChainRecord]
) -> str | None:
    """The chain that has these tags, or that had them at a past moment, as far as it is on record."""
    pair: TagPair | None = tags.pair() if tags else None
    mine = [record for record in records if (record.segment, record.chain.tags) == (segment, pair)]
    held = [record for record in mine if (record.live if moment is None else record.created <= moment)]
    return held[-1].name if held else None
