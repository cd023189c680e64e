"""The shortest counter-example: the packets of one session, with pins and events around them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from typing import Any, Protocol, TypeVar

NEAR = 3
"""So many packets are told before and after each that matters, and so many events before and after all."""
MOST = 20
"""At most so many events, and so many pins, are told: those nearest to the packets that matter."""


class Timed(Protocol):
    @property
    def time_ns(self) -> int: ...


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True)
class Line:
    """One line of the story; `matters` marks the packets without which there is no violation."""

    time_ns: int
    what: str
    text: str
    matters: bool = False


@dataclass(frozen=True)
class Example:
    """What one session did, in order of time. `skipped` packets of it are not told."""

    session: str
    text: str
    lines: tuple[Line, ...]
    skipped: int

    def told(self) -> Iterator[str]:
        """Lines for people: times in ms since the first packet that matters."""
        begin = next((line for line in self.lines if line.matters), None)
        start = begin.time_ns if begin else self.lines[0].time_ns
        yield f"{self.session}: {self.text}"
        for line in self.lines:
            mark = "*" if line.matters else " "
            yield f"{mark} {(line.time_ns - start) / 1e6:+13.3f} ms  {line.what:<6}  {line.text}"
        if self.skipped:
            yield f"  {self.skipped} more packets of this session"

    def plain(self, wall_ns: int) -> dict[str, Any]:
        """For JSON; times in Unix seconds."""
        lines = [
            {
                "time": (line.time_ns + wall_ns) / 1e9,
                "what": line.what,
                "text": line.text,
                "matters": line.matters,
            }
            for line in self.lines
        ]
        return {"session": self.session, "text": self.text, "lines": lines, "skipped": self.skipped}


def explained(nfs: Collection[str], chains: Mapping[str, Collection[str]]) -> bool:
    """Whether one chain has all of these NFs."""
    return any(all(nf in members for nf in nfs) for members in chains.values())


def crossing(nfs: Sequence[str], chains: Mapping[str, Collection[str]]) -> tuple[int, ...]:
    """The fewest packets that no one chain explains, as positions; empty if one chain explains all.

    `nfs`: the NF at which each packet was seen, in order of time, "" elsewhere. Of several such sets it is
    the first that is complete, and of those that which begins last: the last packet in one chain and the
    first in another.
    """
    seen = sorted({nf for nf in nfs if nf})
    if explained(seen, chains):
        return ()
    size = next(
        size for size in count(1) if any(not explained(some, chains) for some in combinations(seen, size))
    )
    latest: dict[str, int] = {}
    for at, nf in enumerate(nfs):
        if nf and nf not in latest:
            found = [
                (*sorted(latest[other] for other in others), at)
                for others in combinations(latest, size - 1)
                if not explained((nf, *others), chains)
            ]
            if found:
                return max(found)
        if nf:
            latest[nf] = at
    raise AssertionError("some packets are not explained, so there is a first that is not")


def window(total: int, matter: Sequence[int]) -> tuple[int, ...]:
    """Which of `total` packets to tell: those that matter and some around each; the first if none does."""
    if not matter:
        return tuple(range(min(total, 4 * NEAR)))
    near = (range(max(at - NEAR, 0), min(at + NEAR + 1, total)) for at in matter)
    return tuple(sorted({at for some in near for at in some}))


def around(items: Sequence[T], begin_ns: int, end_ns: int) -> tuple[T, ...]:
    """Of `items` in order of time: those in between, and some before and after."""
    inside = [n for n, item in enumerate(items) if begin_ns <= item.time_ns <= end_ns]
    low = inside[0] if inside else sum(item.time_ns < begin_ns for item in items)
    high = inside[-1] + 1 if inside else low
    some = items[max(low - NEAR, 0) : high + NEAR]
    nearest = sorted(some, key=lambda item: max(begin_ns - item.time_ns, item.time_ns - end_ns, 0))[:MOST]
    return tuple(sorted(nearest, key=lambda item: item.time_ns))
