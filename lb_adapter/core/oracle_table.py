"""The oracle's session table: what is remembered of each key, and how it changes (affinity rules 1, 5, 7).

The oracle of `place.h` and `upkeep.h`. The pins of `pin.h` are in `oracle_pin`; who may ask for what is
decided in `oracle_splice`.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from catenary.session import SessionKey
from lb_adapter.core.oracle import ARP, ND, TCP, Parsed, lanes, outer_lane
from lb_adapter.core.oracle_choice import choose
from lb_adapter.core.oracle_classify import Ends, entry_of
from lb_adapter.core.oracle_pin import (
    FOREIGN,
    FROM_CLIENT,
    RST,
    Pin,
    State,
    Story,
    age,
    expired,
    first_state,
    leased,
    opens,
    refreshed,
    revives,
    weighs,
)
from lb_adapter.core.setup import Order, Setup, Slot
from lb_adapter.dataplane.base import TakeOver

FRAGMENT_MS = 2000
UNTOLD = Story("copied", 0, 0)
"""Of a pin that was written from outside."""


class Dropped(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Ended(Dropped):
    """The frame met a tombstone."""

    def __init__(self, tombstone: Pin) -> None:
        super().__init__("drop_reset")
        self.tombstone = tombstone


class SessionTable:
    """Sessions and fragments of one splice, by the bytes of their keys."""

    def __init__(self, setup: Setup) -> None:
        self.configure(setup)
        self.pins: dict[bytes, Pin] = {}
        self.fragments: dict[bytes, Pin] = {}
        self.loads: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.entered: Counter[int] = Counter()
        """New sessions by the entry of the classifier."""
        self.stories: dict[bytes, Story] = {}
        """What is told of each pin."""
        self.ended: list[tuple[bytes, str, Story]] = []
        """Sessions that ended, and why (`enum ending`)."""
        self.overflow = False
        self.take_over = TakeOver.NONE
        self.roomy = False
        """In overflow: is there room again? Then nothing is evicted."""
        self._outer = 0
        self._from_inner = False
        self._asked = False
        self._size = self._packets = 0
        self._other: int | None = None
        self._entry: int | None = None

    def configure(self, setup: Setup) -> None:
        """Set up anew; the sessions stay."""
        self.setup = setup

    def _begin(self, raw: bytes, cause: str, slot: int, now: int, other: int | None = None) -> None:
        """A pin begins, with this frame."""
        self.stories[raw] = Story(cause, now & 0xFFFFFFFF, self.loads[slot], other, self._packets, self._size)

    def _carry(self, raw: bytes) -> None:
        """A packet of a known session. An ask is counted when it comes out of a chain."""
        old = self.stories.get(raw, UNTOLD)
        self.stories[raw] = old._replace(packets=old.packets + self._packets, size=old.size + self._size)

    def _tell_over(self, raw: bytes, pin: Pin, why: str) -> None:
        """A pin is over; the other load balancer tells of its own, and a tombstone has been told."""
        if not self.is_foreign(pin) and pin.state is not State.RESET:
            self.ended.append((raw, why, self.stories.get(raw, UNTOLD)))

    def walk(self, now: int) -> None:
        """Reclaim what is not in force; in overflow also what the hash places alike (rule 7)."""
        for raw, pin in list(self.pins.items()):
            tombstone = pin.state is State.RESET
            if expired(pin, now, self.setup.times) if tombstone else not self._in_force(pin, now):
                self._tell_over(raw, pin, "closed" if pin.state is State.CLOSING else "expired")
                del self.pins[raw]
            elif self.overflow and self._evictable(raw, pin):
                self.counts["evicted"] += 1
                self._tell_over(raw, pin, "evicted")
                del self.pins[raw]
        self.loads = Counter(pin.slot for pin in self.pins.values() if self._live(pin, now))

    def _live(self, pin: Pin, now: int) -> bool:
        """Does a pin count as a session of its chain? At the slave, while its lease is valid."""
        if self.is_foreign(pin) or pin.state is State.RESET:
            return False
        if self.setup.role == "slave":
            return leased(pin, now, self.setup.times)
        return weighs(pin)

    def _weigh(self, slot: int, more: int) -> None:
        self.loads[slot] = max(0, self.loads[slot] + more)

    def sweep(self, order: Order, now: int) -> tuple[int, int]:
        """Carry out an order: how many sessions it reset, and moved."""
        reset = moved = 0
        if order.mode == "forget":
            self.pins = {raw: pin for raw, pin in self.pins.items() if pin.state is not State.RESET}
            return 0, 0
        for raw, pin in list(self.pins.items()):
            if not self._meant(order, raw, pin, now):
                continue
            key = SessionKey.unpack(raw)
            own = not self.is_foreign(pin)
            resets = order.mode == "reset" and key.kind == TCP
            self._tell_over(raw, pin, "reset" if resets else "moved" if order.mode == "move" else "let_go")
            loads = weighs(pin) and own
            self._weigh(pin.slot, -loads)
            if resets:
                self.pins[raw] = pin._replace(state=State.RESET, seen=now, fins=0)
                reset += own
                continue
            if order.mode == "move" and order.to is not None:
                self._size = self._packets = 0
                self._begin(raw, "moved", order.to[0], now, pin.slot)
                self.pins[raw] = pin._replace(slot=order.to[0], generation=order.to[1])
                self._weigh(order.to[0], loads)
            else:
                del self.pins[raw]
            # Who asked for whose address is nobody's session; the other load balancer counts its own.
            moved += own and pin.state is not State.NEIGHBOUR
        self.counts["ordered_reset"] += reset
        self.counts["ordered_move"] += moved
        return reset, moved

    def _meant(self, order: Order, raw: bytes, pin: Pin, now: int) -> bool:
        if pin.state is State.RESET or not self._in_force(pin, now):
            return False
        if order.key is not None and order.key.pack() != raw:
            return False
        here = (pin.slot, pin.generation)
        if order.slot not in (None, here) or (order.mode == "move" and order.to == here):
            return False
        # A master's closing pin has the moment at which closing began: packets may have come up to 2 D later.
        silent = pin.state is State.CLOSING and self.setup.role == "master"
        quiet = order.idle + (2 * self.setup.times.transit if silent else 0)
        return not order.idle or age(pin, now) >= quiet

    def take_in(self, key: bytes, word: int, now: int) -> None:
        """Rule 2: a pin of the other's comes. Of two of its own the later counts; ours only get younger."""
        pin, old = Pin.of(word), self.pins.get(key)
        if self._closed(pin.slot):
            return
        if pin.state is State.RESET or not self._in_force(pin, now) or (old is None and self._full(key)):
            return
        if old is not None and old.state is State.RESET:
            return
        live = old is not None and self._in_force(old, now)
        if old is None or not live:
            if old is not None:
                self._tell_over(key, old, "replaced")
            self._size = self._packets = 0
            self._begin(key, "taken_in", pin.slot, now)
        if old is None or not live:
            self.pins[key] = pin
        elif pin.seen > old.seen:
            if self.is_foreign(old):
                self.pins[key] = pin
            elif old.state is not State.CLOSING and old.slot == pin.slot:
                self.pins[key] = old._replace(seen=pin.seen)

    def is_foreign(self, pin: Pin) -> bool:
        """Known from the other load balancer, or by an ask about what a chain may have made (rule 2)."""
        return self.setup.outers == 1 and pin.outer == FOREIGN

    def _open(self, slot: int | None) -> Slot | None:
        return None if slot is None else self.setup.slots.get(slot)

    def _closed(self, slot: int) -> bool:
        row = self._open(slot)
        return row is not None and row.state == "closed"

    def _stranded(self, pin: Pin) -> bool:
        """Asked about, known from the other side only, its chain closed: no answer, and no other chain."""
        return self._asked and self.is_foreign(pin) and self._closed(pin.slot)

    def _in_force(self, pin: Pin, now: int) -> bool:
        row = self._open(pin.slot)
        known = row is not None and row.generation == pin.generation
        return known and not expired(pin, now, self.setup.times)

    def _evictable(self, raw: bytes, pin: Pin) -> bool:
        # The hash tells the inner endpoint alone: with several outer ones, the pin knows more.
        if self.roomy or self.setup.role != "master":
            return False
        if pin.state is not State.OPENING or self.setup.outers != 1 or self.is_foreign(pin):
            return False
        # A pin does not tell which end is the client's: the answer must be the same either way.
        key = SessionKey.unpack(raw)
        return all(
            pin.slot == self._plain(key, ends) for ends in (Ends(key.low, key.high), Ends(key.high, key.low))
        )

    def _plain(self, key: SessionKey, ends: Ends) -> int | None:
        """What a key gets by itself, with a pin and without one: the bypass, or the plain hash's answer."""
        if self._passes(key, ends):
            return self.setup.bypass
        return self.setup.entries[lanes(key, len(self.setup.entries))[0]]

    def _passes(self, key: SessionKey, ends: Ends) -> bool:
        """Does it go past the chains? ARP and ND do so if what is no session does."""
        setup = self.setup
        if setup.bypass is None:
            return False
        if key.kind in (ARP, ND):
            return setup.designated == setup.bypass
        return entry_of(setup.rules, key, ends) is None

    def _ends(self, parsed: Parsed) -> Ends:
        """The client's end and the server's: what comes from inside, asks too, is the server's."""
        assert parsed.sender is not None
        assert parsed.receiver is not None
        assert parsed.key is not None
        both = (parsed.receiver, parsed.sender) if self._from_inner else (parsed.sender, parsed.receiver)
        return Ends.of(parsed.key, *both)

    def _may_move(self, pin: Pin, flags: int) -> bool:
        """A SYN for a chain that takes no new sessions."""
        row = self._open(pin.slot)
        takes = row is not None and row.state == "active" and row.weight > 0
        return opens(flags) and not takes

    def _gives_way(self, pin: Pin, flags: int, now: int) -> bool:
        """Rule 5: such a SYN is placed anew if the pin is closed and was quiet."""
        # Packets up to 2 D after closing began leave no trace in the pin, so quiet for 2 D means 4 D.
        quiet = age(pin, now) > 4 * self.setup.times.transit
        return pin.state is State.CLOSING and quiet and self._may_move(pin, flags)

    def _reopens(self, tombstone: Pin, flags: int, now: int) -> bool:
        """For 2 D a SYN opens the next connection in the same chain: an ask may have been answered so."""
        row = self._open(tombstone.slot)
        young = age(tombstone, now) <= 2 * self.setup.times.transit
        known = row is not None and row.generation == tombstone.generation and row.state != "closed"
        from_chain = self._from_inner and not self._asked
        return not from_chain and revives(flags) and young and known

    def _decides(self, pin: Pin, flags: int, now: int) -> bool:
        """May the slave follow this lease? With a SYN it asks: the client's, at once, may be placed anew."""
        return leased(pin, now, self.setup.times) and not opens(flags)

    def _fresh(self, slot: int, parsed: Parsed, now: int) -> Pin:
        assert parsed.key is not None
        state = first_state(parsed.key.kind, parsed.tcp_flags)
        outer = FOREIGN if self._asked and self.setup.rewrites else self._outer
        return Pin(slot, self.setup.slots[slot].generation, state, now, outer=outer)

    def _note_outer(self, parsed: Parsed, pin: Pin) -> None:
        """A frame from inside goes to the pin's outer endpoint; one from another one contradicts the pin."""
        if self.setup.outers == 1:
            return
        if self._from_inner:
            self._outer = pin.outer
        elif not parsed.is_neighbour:
            self.counts["affinity_mismatch"] += pin.outer != self._outer

    def _full(self, raw: bytes) -> bool:
        """Has the table of this key no room for another one? IPv4 has a table of its own."""
        most = self.setup.capacity
        return len(self.pins) >= most and sum(_small(key) == _small(raw) for key in self.pins) >= most

    def _choose(self, parsed: Parsed) -> int | None:
        """A new session's slot. In overflow the plain hash answers, with a pin and without one (rule 7)."""
        assert parsed.key is not None
        key = parsed.key
        if self.overflow:
            self.counts["placed_in_overflow"] += 1
        setup, policy = self.setup, "maglev" if self.overflow else self.setup.policy
        self._other = None
        if self._passes(key, self._ends(parsed)):
            return setup.bypass
        if setup.bypass is not None and not parsed.is_neighbour:
            self._entry = entry_of(setup.rules, key, self._ends(parsed))
        chosen = choose(key, setup.entries, setup.slots, self.loads.__getitem__, policy)
        self._other = next((slot for slot, _ in chosen.weighed if slot != chosen.slot), None)
        return chosen.slot

    def _assign(self, parsed: Parsed, now: int, slot: int, reason: str) -> int:
        """Rule 1: write key -> slot, in the place of what is expired. Drops what finds no room (rule 7)."""
        assert parsed.key is not None
        raw = parsed.key.pack()
        old = self._look(parsed, now)
        if old is not None and old.state is State.RESET and not revives(parsed.tcp_flags):
            raise Ended(old)
        if self._from_inner and self.setup.outers > 1:
            self._outer = self.setup.outer_entries[outer_lane(parsed.key, len(self.setup.outer_entries))]
        if raw in self.pins:
            self._tell_over(raw, self.pins[raw], "replaced")
            self.counts["session_revived"] += 1
        elif self._full(raw):
            self.overflow, self.roomy = True, False
            self.counts["pin_table_full"] += 1
            if self.setup.refuse_full:
                raise Dropped("drop_table_full")
            plain = self._plain(parsed.key, self._ends(parsed))
            if reason == "session_learned":
                return slot
            if plain is None:
                raise Dropped("drop_no_chain")
            return plain
        self.pins[raw] = self._fresh(slot, parsed, now)
        chosen = reason == "session_placed"
        self._begin(raw, self._cause(reason), slot, now, self._other if chosen else None)
        self.counts[reason] += 1
        if weighs(self.pins[raw]):
            self._weigh(slot, 1)
            self.entered.update(() if self._entry is None else (self._entry,))
        return slot

    def _cause(self, reason: str) -> str:
        told = {"session_learned": "learned", "hint_honoured": "hinted"}
        return told.get(reason) or ("overflow" if self.overflow else "asked" if self._asked else "placed")

    def _count_orphan(self, parsed: Parsed) -> None:
        """Rule 8: placed in the middle of a connection soon after a take-over."""
        begun = parsed.key is not None and parsed.key.kind == TCP and not opens(parsed.tcp_flags)
        lost = begun and not parsed.tcp_flags & RST
        self.counts["orphaned"] += lost and self.take_over is TakeOver.WATCH

    def _look(self, parsed: Parsed, now: int) -> Pin | None:
        assert parsed.key is not None
        pin = self.pins.get(parsed.key.pack())
        if pin is None or pin.state is State.RESET:
            return pin  # a tombstone belongs to no chain, and only the walk asks for its age
        return pin if self._in_force(pin, now) else None

    def _refresh(self, parsed: Parsed, now: int, flags: int, side: int) -> int | None:
        pin = self._look(parsed, now)
        if pin is None or parsed.key is None or (side == FROM_CLIENT and self._gives_way(pin, flags, now)):
            return None
        if pin.state is State.RESET and self._reopens(pin, flags, now):
            return self._assign(parsed, now, pin.slot, "session_placed")
        if pin.state is State.RESET and revives(flags):
            return None
        if pin.state is State.RESET:
            self.pins[parsed.key.pack()] = pin._replace(seen=now)
            raise Ended(pin)
        if self._stranded(pin):
            raise Dropped("drop_closed")
        after = refreshed(pin, now, flags, side, self.setup.times.transit)
        if self.is_foreign(pin) and not self._asked:
            after = after._replace(outer=self._outer)
        self.pins[parsed.key.pack()] = after
        self._carry(parsed.key.pack())
        self._weigh(pin.slot, weighs(after) - weighs(pin))
        self._note_outer(parsed, pin)
        return pin.slot

    def _note_fragment(self, parsed: Parsed, now: int, slot: int) -> None:
        row = self._open(slot)
        if parsed.fragment is not None and row is not None:
            pin = Pin(slot, row.generation, State.OTHER, now, outer=self._outer)
            self.fragments[parsed.fragment.pack()] = pin

    def _of_fragment(self, parsed: Parsed, now: int) -> int | None:
        """A later fragment goes where its first one went, never elsewhere."""
        assert parsed.fragment is not None
        note = self.fragments.get(parsed.fragment.pack())
        row = None if note is None else self._open(note.slot)
        if note is None or row is None or row.generation != note.generation or age(note, now) >= FRAGMENT_MS:
            return None
        self._note_outer(parsed, note)
        return note.slot


@lru_cache(4096)
def _small(raw: bytes) -> bool:
    """Does the key of these bytes lie in the table of IPv4 keys?"""
    mapped = bytes(10) + b"\xff\xff"
    kind = int.from_bytes(raw[40:42], "little")
    return raw[:12] == mapped and raw[16:28] == mapped and kind < 256
