"""What became of a capture in one configuration, and how two of them differ. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from experiments.replay.pacing import Delivery


class Kind(StrEnum):
    """How one session can differ; all but the first are faults where chains are copies of one."""

    PLACED = "placed otherwise"
    DELIVERED = "delivered otherwise"
    LOST = "alert lost"
    DOUBLED = "alert doubled"
    NEW = "alert that was not there"


@dataclass(frozen=True, order=True)
class Alarm:
    """That an NF raised an alert: by which signature, of which session (a key's text)."""

    signature: str
    session: str


@dataclass(frozen=True)
class Outcome:
    """One replay. All mappings but `alarms` are by the session's key as text.

    `placements`: the chains that it crossed; one, unless the promise was broken, and none if nothing of it
    came so far. `alarms`: of each chain, those of its NFs. `failures`: what the witness has to say against
    the run. `again` and `foreign` are those of `Player`;
    `missed` frames found a socket's buffer full, and spoil what is told of deliveries.
    """

    name: str
    deliveries: Mapping[str, Delivery]
    placements: Mapping[str, tuple[str, ...]]
    alarms: Mapping[str, Sequence[Alarm]]
    failures: tuple[str, ...] = ()
    again: int = 0
    foreign: int = 0
    missed: int = 0

    @property
    def crossed(self) -> tuple[str, ...]:
        """Sessions on more than one chain."""
        return tuple(sorted(session for session, chains in self.placements.items() if len(chains) > 1))

    @property
    def strange(self) -> tuple[str, ...]:
        """Alarms that a chain raised of a session which it did not carry, as text."""
        return tuple(
            f"{chain}: {alarm.signature}, {alarm.session}"
            for chain, alarms in self.alarms.items()
            for alarm in alarms
            if alarm.session in self.deliveries and chain not in self.placements.get(alarm.session, ())
        )

    @property
    def total(self) -> Counter[Alarm]:
        """How often each alarm was raised, by whichever chain."""
        return Counter(alarm for alarms in self.alarms.values() for alarm in alarms)

    @property
    def idle(self) -> int:
        """How many chains carried no session."""
        return [*self.shares().values()].count(0)

    def shares(self) -> dict[str, int]:
        """Sessions of each chain."""
        return {name: sum(name in chains for chains in self.placements.values()) for name in self.alarms}


@dataclass(frozen=True, order=True)
class Difference:
    """What is another for one session; `text` says of what to what."""

    kind: Kind
    session: str
    text: str

    def __str__(self) -> str:
        return f"{self.session}: {self.kind}: {self.text}"


def differences(a: Outcome, b: Outcome, *, placed: bool = True) -> tuple[Difference, ...]:
    """What of `a` is another in `b`, sorted; without placements (`placed`) where the chains are not alike."""
    found = [*_delivered(a, b), *_alarms(a.total, b.total)]
    return tuple(sorted([*found, *_placed(a, b)] if placed else found))


def _placed(a: Outcome, b: Outcome) -> Iterator[Difference]:
    for session in a.placements.keys() | b.placements.keys():
        before, after = (_chains(outcome.placements.get(session, ())) for outcome in (a, b))
        if before != after:
            yield Difference(Kind.PLACED, session, f"{before} -> {after}")


def _delivered(a: Outcome, b: Outcome) -> Iterator[Difference]:
    for session in a.deliveries.keys() | b.deliveries.keys():
        before, after = (outcome.deliveries.get(session) for outcome in (a, b))
        if (before and before.arrived) != (after and after.arrived):
            yield Difference(Kind.DELIVERED, session, f"{_arrived(before)} -> {_arrived(after)}")


def _alarms(a: Counter[Alarm], b: Counter[Alarm]) -> Iterator[Difference]:
    for alarm in a.keys() | b.keys():
        before, after = a[alarm], b[alarm]
        if before != after:
            kind = Kind.LOST if after < before else Kind.DOUBLED if before else Kind.NEW
            yield Difference(kind, alarm.session, f"{alarm.signature}: {before} -> {after}")


def _chains(names: Sequence[str]) -> str:
    return " and ".join(names) or "no chain"


def _arrived(delivery: Delivery | None) -> str:
    return f"{delivery.arrived} of {delivery.packets} packets" if delivery else "not there"
