"""Affinity rule 1, all interleavings: two packets of one key, the walk, the replacement of an expired pin.

Another key may get the memory of a pin that was deleted, while a packet still holds it.

Each actor is a generator that yields at every atomic access and gets the access' result. The states that
they can reach together are searched exhaustively: an actor's place is known by the results it has had, so a
state is those results and the table.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lb_adapter.core.oracle_pin import ACK, FROM_CLIENT, Pin, State, Times, expired, refreshed

TIMES = Times(lease=10, transit=2, tau=dict.fromkeys(State, 100))
TRIES = 4
T = 114
Access = tuple[Any, ...]
Actor = Generator[Access, Any, object]
Make = Callable[[], Actor]


OWN, ANOTHER, SPOILT = "own", "another key's", "spoilt"


@dataclass(frozen=True)
class Entry:
    pin: Pin
    check: str = OWN
    """Whose key the memory says that it is of."""


@dataclass(frozen=True)
class Table:
    """All entries there ever were, which of them the key has, and which may go to another one."""

    entries: tuple[Entry, ...] = ()
    present: int | None = None
    freed: int | None = None

    def do(self, access: Access) -> tuple[Table, Any]:
        kind, *rest = access
        match kind:
            case "find":
                return self, self.present
            case "read":
                return self, self.entries[rest[0]].pin
            case "check":
                return self, self.entries[rest[0]].check
            case "insert":
                if self.present is not None:
                    return self, False
                return replace(self, entries=(*self.entries, Entry(rest[0])), present=len(self.entries)), True
            case "delete":
                return replace(self, present=None, freed=self.present), None
            case "take":
                return replace(self, freed=None), self.freed
            case "write":
                return self._with(rest[0], replace(self.entries[rest[0]], **rest[1])), None
        assert kind == "swap"
        number, old, new = rest
        there = self.entries[number]
        if there.pin != old:
            return self, there.pin
        return self._with(number, replace(there, pin=new)), old

    def _with(self, number: int, entry: Entry) -> Table:
        return replace(self, entries=(*self.entries[:number], entry, *self.entries[number + 1 :]))


def believed(entry: int) -> Actor:
    """The word of an entry; dead if the memory is another key's by now."""
    pin = yield ("read", entry)
    return pin if (yield ("check", entry)) == OWN else pin._replace(dead=True)


def packet(slot: int, now: int) -> Actor:
    """A client's packet, for which the policy chose `slot`: where it goes, or why it is dropped."""
    entry = yield ("find",)
    pin = None
    if entry is not None:
        for _ in range(TRIES):
            pin = yield from believed(entry)
            if pin.dead or expired(pin, now, TIMES):
                break
            after = refreshed(pin, now, ACK, FROM_CLIENT, TIMES.transit)
            if after == pin or (yield ("swap", entry, pin, after)) == pin:
                return where(pin)
        else:
            return where(pin)
    return (yield from place(slot, now))


def place(slot: int, now: int) -> Actor:
    fresh = Pin(slot, 1, State.ESTABLISHED, now)
    for _ in range(2):
        if (yield ("insert", fresh)):
            return slot
        entry = yield ("find",)
        if entry is not None:
            break
    else:
        return "table full"
    for _ in range(TRIES):
        pin = yield from believed(entry)
        if pin.dead:
            return "dead pin"
        if not expired(pin, now, TIMES):
            return where(pin)
        if (yield ("swap", entry, pin, fresh)) == pin:
            return slot
    return "contended"


def where(pin: Pin) -> object:
    """Where a packet goes that found this pin in force."""
    return "answered" if pin.state is State.RESET else pin.slot


def walk(now: int) -> Actor:
    entry = yield ("find",)
    if entry is None:
        return "nothing there"
    pin = yield ("read", entry)
    if not pin.dead:
        if not expired(pin, now, TIMES):
            return "kept"
        if (yield ("swap", entry, pin, pin._replace(dead=True))) != pin:
            return "lost"
    yield ("write", entry, {"check": SPOILT})
    yield ("delete",)
    return "deleted"


def sweep(now: int, idle: int = 0, *, reset: bool = False) -> Actor:
    """An order on this pin: a tombstone, or the mark and the deletion."""
    entry = yield ("find",)
    if entry is None:
        return "nothing there"
    for _ in range(TRIES):
        pin = yield ("read", entry)
        if pin.dead or pin.state is State.RESET or expired(pin, now, TIMES) or now - pin.seen < idle:
            return "not meant"
        after = pin._replace(state=State.RESET, seen=now) if reset else pin._replace(dead=True)
        if (yield ("swap", entry, pin, after)) == pin:
            break
    else:
        return "contended"
    if not reset:
        yield ("write", entry, {"check": SPOILT})
        yield ("delete",)
    return "swept"


def another(now: int, *parts: str) -> Actor:
    """A packet of another key that gets the memory of what was deleted, and writes `parts` in this order."""
    entry = yield ("take",)
    if entry is None:
        return "nothing was deleted"
    pin = {"pin": Pin(9, 1, State.ESTABLISHED, now), "check": ANOTHER}
    for part in parts:
        yield ("write", entry, {part: pin[part]})
    return "inserted"


def walks(now: int) -> Actor:
    """One after the other."""
    yield from walk(now)
    return (yield from walk(now))


def ends(start: Table, actors: list[Make]) -> Iterator[tuple[Table, tuple[object, ...], int]]:
    """Every way in which it can end: the table, what each actor returned; and the states seen so far."""
    seen = set()
    stack: list[tuple[Table, tuple[tuple[Any, ...], ...]]] = [(start, ((),) * len(actors))]
    while stack:
        state = stack.pop()
        if state in seen:
            continue
        seen.add(state)
        table, told = state
        steps = [_next(make, results) for make, results in zip(actors, told, strict=True)]
        if all(over for over, _ in steps):
            yield table, tuple(value for _, value in steps), len(seen)
        for number, (over, access) in enumerate(steps):
            if not over:
                after, result = table.do(access)
                results = (*told[number], result)
                stack.append((after, (*told[:number], results, *told[number + 1 :])))


def _next(make: Make, results: tuple[Any, ...]) -> tuple[bool, Any]:
    """An actor's next access once it has had these results; or True and what it returned."""
    actor = make()
    try:
        access = next(actor)
        for result in results:
            access = actor.send(result)
    except StopIteration as stop:
        return True, stop.value
    return False, access


def violations(start: Table, actors: list[Make]) -> list[str]:
    """What goes wrong: packets in two chains; one that went out and left no pin; a table falsely full."""
    wrong, searched = [], 0
    for table, results, states in ends(start, actors):
        searched = max(searched, states)
        chains = {result for result in results if isinstance(result, int)}
        if len(chains) > 1:
            wrong.append(f"packets of one key in chains {chains}")
        pin = None if table.present is None else table.entries[table.present].pin
        if chains and (pin is None or pin.dead or pin.slot not in chains):
            wrong.append(f"a packet went to {chains}, and the pin is {pin}")
        if "table full" in results:
            wrong.append("a deletion was taken for a full table")
    assert searched > 10
    return wrong


def pinned(seen: int, state: State = State.ESTABLISHED) -> Table:
    return Table((Entry(Pin(2, 1, state, seen)),), 0)


STARTS = {
    "no pin": (Table(), 1000, 1000),
    "a live pin": (pinned(990), 1000, 1000),
    "an expired pin": (pinned(0), 1000, 1000),
    "a pin that expires between the packets' clock and the walk's": (pinned(0), T - 1, T),
    "a closing pin": (pinned(990, State.CLOSING), 1000, 1000),
    "an expired closing pin": (pinned(0, State.CLOSING), 1000, 1000),
}


@pytest.mark.parametrize("name", STARTS)
def test_one_chain_wins(name: str) -> None:
    start, now, walked = STARTS[name]
    assert not violations(start, [lambda: packet(0, now), lambda: packet(1, now), lambda: walk(walked)])


@pytest.mark.parametrize("name", STARTS)
def test_one_chain_wins_while_walk_follows_walk(name: str) -> None:
    """The second one may find marks that are left, as an adopting daemon's does."""
    start, now, walked = STARTS[name]
    entries = tuple(Entry(entry.pin._replace(dead=True)) for entry in start.entries)
    marked = replace(start, entries=entries)
    for table in (start, marked):
        assert not violations(table, [lambda: packet(0, now), lambda: packet(1, now), lambda: walks(walked)])


def test_walks_must_not_run_at_once() -> None:
    """One would delete what a packet inserted after the other's deletion: the daemon serialises its calls."""
    assert violations(pinned(0), [lambda: packet(0, T), lambda: walk(T), lambda: walk(T)])


def test_packets_on_both_sides_of_the_expiry() -> None:
    """One packet still finds the pin in force, the next one finds it expired."""
    actors: list[Make] = [lambda: packet(0, T - 1), lambda: packet(1, T), lambda: walk(T)]
    assert not violations(pinned(0), actors)


@pytest.mark.parametrize("order", [("pin", "check"), ("check", "pin")], ids=" then ".join)
@pytest.mark.parametrize("deletes", [walk, sweep], ids=["the walk", "a sweep"])
def test_a_packet_never_follows_the_pin_of_another_key(
    order: tuple[str, str], deletes: Callable[[int], Actor]
) -> None:
    """It found its pin before that was deleted, and reads it when the memory is another key's."""
    for now in (T - 1, T):
        actors: list[Make] = [lambda: packet(0, now), lambda: deletes(now), lambda: another(now, *order)]  # noqa: B023
        results = [results for _, results, _ in ends(pinned(0), actors)]
        assert {first for first, *_ in results} <= {0, 2, "dead pin"}
        assert any(last == "inserted" for *_, last in results) == (deletes is sweep or now == T)


def test_walk_never_deletes_what_was_refreshed_since_it_looked() -> None:
    for table, (outcome, walked), _ in ends(pinned(0), [lambda: packet(0, T - 1), lambda: walk(T)]):
        if outcome == 2 and walked != "kept":
            assert walked in ("lost", "deleted", "nothing there")
            assert (walked == "deleted") <= (
                table.present is not None and table.entries[table.present].pin.seen == T - 1
            )


@pytest.mark.parametrize("idle", [0, 5, 60])
def test_a_sweep_lets_go_of_idle_pins_only(idle: int) -> None:
    """Whatever a packet refreshed stays where it is; what is placed anew is placed once."""
    actors: list[Make] = [lambda: packet(0, 50), lambda: packet(1, 50), lambda: sweep(50, idle)]
    for table, (*packets, swept), _ in ends(pinned(0), actors):
        chains = {result for result in packets if isinstance(result, int)}
        pin = None if table.present is None else table.entries[table.present].pin
        if idle:
            assert len(chains) <= 1
            assert not chains or (pin is not None and {pin.slot} == chains)
        if 2 in chains and idle:
            assert swept != "swept", "a packet made it young"


def test_after_a_reset_nothing_goes_on_and_the_tombstone_stays() -> None:
    actors: list[Make] = [lambda: packet(0, 50), lambda: packet(1, 50), lambda: sweep(50, reset=True)]
    outcomes = set()
    for table, (first, second, swept), _ in ends(pinned(0), actors):
        outcomes.add((first, second))
        assert {first, second} <= {2, "answered"}, "nobody is placed"
        if swept == "swept":
            assert table.present is not None
            assert table.entries[table.present].pin.state is State.RESET
    assert outcomes == {(2, 2), (2, "answered"), ("answered", 2), ("answered", "answered")}


def test_a_sweep_beside_the_walk_follows_it() -> None:
    """The daemon has one go over the table at a time; each finds whatever the other left."""

    def both(now: int) -> Actor:
        yield from sweep(now, 60)
        return (yield from walk(now))

    for now in (T - 1, T):
        actors: list[Make] = [lambda: packet(0, now), lambda: packet(1, now), lambda: both(now)]  # noqa: B023
        for table, (*packets, _), _ in ends(pinned(0), actors):
            chains = {result for result in packets if isinstance(result, int)}
            assert len(chains) <= 1, table


def careless_walk(now: int) -> Actor:
    """Without the mark: what is deleted may not be what was looked at."""
    entry = yield ("find",)
    if entry is not None and expired((yield ("read", entry)), now, TIMES):
        yield ("delete",)
    return "done"


def delete_and_insert(slot: int, now: int) -> Actor:
    """An expired pin replaced in two steps."""
    entry = yield ("find",)
    if entry is not None:
        pin = yield ("read", entry)
        if not expired(pin, now, TIMES):
            return pin.slot
        yield ("delete",)
    yield ("insert", Pin(slot, 1, State.ESTABLISHED, now))
    return slot


def overwrite(slot: int, now: int) -> Actor:
    """An expired pin replaced without looking whether another packet did."""
    entry = yield ("find",)
    pin = yield ("read", entry)
    if not expired(pin, now, TIMES):
        return pin.slot
    yield ("swap", entry, (yield ("read", entry)), Pin(slot, 1, State.ESTABLISHED, now))
    return slot


def trusting(now: int) -> Actor:
    """A packet that does not ask whose the memory is."""
    entry = yield ("find",)
    if entry is None:
        return "no pin"
    pin = yield ("read", entry)
    return "dead pin" if pin.dead or expired(pin, now, TIMES) else pin.slot


def test_the_search_finds_a_packet_that_trusts_memory() -> None:
    actors: list[Make] = [lambda: trusting(T), lambda: walk(T), lambda: another(T, "pin", "check")]
    assert any(first == 9 for _, (first, *_), _ in ends(pinned(0), actors))


def test_the_search_finds_a_deletion_that_spoils_nothing() -> None:
    """Between the two writes of the other key the word is its, and the check is not yet."""

    def plain() -> Actor:
        entry = yield ("find",)
        pin = yield ("read", entry)
        if (yield ("swap", entry, pin, pin._replace(dead=True))) == pin:
            yield ("delete",)
        return "deleted"

    actors: list[Make] = [lambda: packet(0, T), plain, lambda: another(T, "pin", "check")]
    assert any(first == 9 for _, (first, *_), _ in ends(pinned(0), actors))


@pytest.mark.parametrize(
    "actors",
    [
        [lambda: packet(0, T - 1), lambda: careless_walk(T)],
        [lambda: delete_and_insert(0, T), lambda: delete_and_insert(1, T)],
        [lambda: overwrite(0, T), lambda: overwrite(1, T)],
    ],
    ids=["deletion without a mark", "delete and insert", "replacement without comparing"],
)
def test_the_search_finds_what_the_rules_forbid(actors: list[Make]) -> None:
    assert violations(pinned(0), actors)
