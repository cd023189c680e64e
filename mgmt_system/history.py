"""Reading the journal: entries by what they tell of, and the chains of a past moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from catenary import moments, wire
from catenary.errors import InvalidValue, NotFound, Unavailable
from mgmt_system.journal import JournalEntry, rewind
from mgmt_system.records import ChainRecord
from mgmt_system.store.ledger import Ledger

PORTION = 500
"""Entries read from the store at a time."""
_END = 10**15
"""More than any number: some may be missing in a damaged store, so a portion is counted in entries."""


@dataclass(frozen=True)
class Filter:
    """Which entries are wanted; moments are seconds since the epoch. What is None matches all."""

    since: float | None = None
    until: float | None = None
    chain: str | None = None
    segment: str | None = None
    kind: wire.HistoryKind | None = None
    who: str | None = None

    def matches(self, entry: JournalEntry) -> bool:
        event = entry.event
        pairs = (
            (self.chain, event.chain),
            (self.segment, event.segment),
            (self.kind, event.kind),
            (self.who, event.author.who),
        )
        return all(wanted in (None, found) for wanted, found in pairs)


class History:
    """`clock` gives seconds since the epoch."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._clock = clock

    def entries(self, wanted: Filter, after: int, limit: int) -> list[JournalEntry]:
        """The first `limit` entries that match and have a number above `after`, oldest first."""
        found = []
        portion = min(limit, PORTION) if wanted == Filter(wanted.since, wanted.until) else PORTION
        for entry in self._forward(max(after + 1, self._first_since(wanted.since)), portion):
            if wanted.until is not None and entry.at > wanted.until:
                break
            if wanted.matches(entry):
                found.append(entry)
                if len(found) == limit:
                    break
        return found

    def last(self, wanted: Filter, count: int) -> list[JournalEntry]:
        """The last `count` entries that match, oldest first."""
        found: list[JournalEntry] = []
        since = float("-inf") if wanted.since is None else wanted.since
        for entry in self._backward_to(since, self._ledger.snapshot().head.next):
            if len(found) == count:
                break
            if wanted.matches(entry) and (wanted.until is None or entry.at <= wanted.until):
                found.append(entry)
        return found[::-1]

    def near(self, at: float, *, before: int = 100, after: int = 20) -> list[JournalEntry]:
        """So many entries before and after a moment, oldest first."""
        first = self._first_since(at)
        return list(self._ledger.entries(max(0, first - before), first + after))

    def chains(self, at: float) -> list[ChainRecord]:
        """The chains that were not removed at that moment, oldest first.

        Raises `InvalidValue` for a moment to come, `NotFound` for one that the journal does not reach, and
        `Unavailable` where the journal may lack entries: each one undoes something.
        """
        if self._ledger.damaged:
            raise Unavailable(f"the chains of {moments.iso(at)} can't be told: {self._ledger.fault}")
        now, snapshot = self._clock(), self._ledger.snapshot()
        if at > now:
            raise InvalidValue(f"{moments.iso(at)} is still to come: it is {moments.iso(now)}")
        if at < snapshot.head.since:
            raise NotFound(
                f"the chains of {moments.iso(at)} are not known: the journal reaches back to "
                f"{moments.iso(snapshot.head.since)}; catenary ms run keeps more with --journal-size and "
                "--journal-age"
            )
        return rewind(snapshot.chains, self._backward_to(at, snapshot.head.next))

    def _forward(self, seq: int, portion: int) -> Iterator[JournalEntry]:
        while found := self._ledger.entries(seq, _END, limit=portion):
            yield from found
            seq = found[-1].seq + 1

    def _backward_to(self, at: float, end: int) -> Iterator[JournalEntry]:
        """Entries below `end` that came later than `at`, newest first."""
        while portion := self._ledger.entries(0, end, limit=PORTION, descending=True):
            for entry in portion:
                if entry.at <= at:
                    return
                yield entry
            end = portion[-1].seq

    def _first_since(self, since: float | None) -> int:
        """The number of the first entry that is not older: moments never go back, so it can be halved for."""
        head = self._ledger.snapshot().head
        low, high = head.first, head.next
        while since is not None and low < high:
            middle = (low + high) // 2
            found = self._ledger.entries(middle, high, limit=1)
            if found and found[0].at < since:
                low = found[0].seq + 1
            else:
                high = middle
        return low
