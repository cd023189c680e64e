"""The oracle of `splice.h`: the decisions of both roles, in plain Python.

Written from the rules of affinity (docs/ARCHITECTURE.md), which the comments number. `now` is ms of any clock
that only grows. What two CPUs may do to one pin is the matter of tests/unit/test_lb_interleavings.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from catenary.session import SessionKey
from lb_adapter.core.oracle import ARP, ND, TAGS, FrameClass, Parsed, coarsen, lanes, outer_lane, parse
from lb_adapter.core.oracle_pin import (
    FIN,
    FROM_CLIENT,
    FROM_SERVER,
    RST,
    Pin,
    State,
    age,
    expired,
    first_state,
    leased,
    opens,
    refreshed,
    renewed,
)
from lb_adapter.core.setup import Setup, Slot, Verdict

FRAGMENT_MS = 2000


class _Dropped(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Splice:
    """One splice with its session table. `pins` and `fragments` are by the bytes of their keys."""

    def __init__(self, setup: Setup) -> None:
        self.configure(setup)
        self.pins: dict[bytes, Pin] = {}
        self.fragments: dict[bytes, Pin] = {}
        self.loads: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.overflow = False
        self._outer = 0
        self._from_inner = False

    def configure(self, setup: Setup) -> None:
        """Set up anew; the sessions stay."""
        self.setup = setup
        master = setup.role == "master"
        self.vids: dict[int, tuple[str, int | None]] = {}
        for slot, row in setup.slots.items():
            if not row.forward:
                continue
            self.vids[row.forward] = ("hint" if master else "chain", slot)
            self.vids[row.reverse] = ("chain" if master else "answer", slot)
        if setup.ask_id is not None:
            self.vids[setup.ask_id] = ("ask" if master else "own", None)

    def outer(
        self, frame: bytes, now: int, beside: int | None = None, *, endpoint: int = 0
    ) -> tuple[Verdict, bytes]:
        """A frame from the outer side: what becomes of it, and how it looks when it is sent."""
        return self._emit(self.decide_outer(parse(frame, beside), now, endpoint), frame, beside)

    def inner(
        self, frame: bytes, now: int, beside: int | None = None, *, slot: int | None = None
    ) -> tuple[Verdict, bytes]:
        """A frame from the inner side: out of the plain interface `slot`, or with the own tag outermost."""
        if slot is not None:
            return self._emit(self._decide(parse(frame, beside), now, "chain", slot), frame, beside)
        if beside is None and len(frame) >= 18 and int.from_bytes(frame[12:14], "big") == TAGS[0]:
            beside = int.from_bytes(frame[14:16], "big") & 0x0FFF
            frame = frame[:12] + frame[16:]
        if not beside:
            return self._emit(Verdict("", 0, "drop_untagged"), frame, None)
        return self._emit(self.decide_inner(parse(frame), beside, now), frame, None)

    def decide_outer(self, parsed: Parsed, now: int, endpoint: int = 0) -> Verdict:
        """What becomes of a parsed frame from the outer side."""
        if parsed.vlans[0] in self.vids:
            return Verdict("", 0, "drop_own_tag")
        self._outer = endpoint
        return self._decide(parsed, now, "outer", None)

    def decide_inner(self, parsed: Parsed, vid: int, now: int) -> Verdict:
        """What becomes of a parsed frame from the inner port; `vid` is the own tag that was popped off it."""
        meaning, slot = self.vids.get(vid, ("own", None))
        if meaning == "own":
            return Verdict("", 0, "drop_unknown_tag")
        return self._decide(parsed, now, meaning, slot)

    def walk(self, now: int) -> None:
        """Reclaim what is not in force; in overflow also what the hash places alike (rule 7)."""
        for raw, pin in list(self.pins.items()):
            if self._evictable(SessionKey.unpack(raw), pin):
                self.counts["evicted"] += 1
                del self.pins[raw]
            elif not self._in_force(pin, now):
                del self.pins[raw]
        live = Counter(pin.slot for pin in self.pins.values() if pin.state is not State.CLOSING)
        self.loads = live

    def _emit(self, verdict: Verdict, frame: bytes, beside: int | None) -> tuple[Verdict, bytes]:
        self.counts[verdict.reason] += 1
        for vid in (beside, verdict.vid or None):
            if vid is not None:
                frame = frame[:12] + TAGS[0].to_bytes(2, "big") + vid.to_bytes(2, "big") + frame[12:]
        return verdict, frame if verdict.port else b""

    def _decide(self, parsed: Parsed, now: int, where: str, tagged: int | None) -> Verdict:
        slave = self.setup.role == "slave"
        forward = not slave if where == "outer" else slave and where == "chain"
        parsed = coarsen(parsed, self.setup.affinity, forward)
        self._from_inner = where != "outer"
        if self._from_inner:
            self._outer = 0
        if parsed.kind is FrameClass.BAD:
            return Verdict("", 0, parsed.reason)
        try:
            if where == "chain" and tagged is not None:
                return (self._slave_chain if slave else self._master_chain)(parsed, now, tagged)
            if parsed.kind is FrameClass.OTHER:
                return self._designated(where, slave)
            if where == "outer":
                return (self._slave_outer if slave else self._master_outer)(parsed, now)
            if where == "answer" and tagged is not None:
                return self._slave_answered(parsed, now, tagged)
            return self._master_asked(parsed, now, tagged)
        except _Dropped as dropped:
            return Verdict("", 0, dropped.reason)

    def _designated(self, where: str, slave: bool) -> Verdict:
        if where != "outer":
            return Verdict("", 0, "drop_malformed")  # what is no session is never asked about
        row = self._open(self.setup.designated)
        if row is None:
            return Verdict("", 0, "drop_no_chain")
        return Verdict("inner", row.reverse if slave else row.forward, "designated", self.setup.designated)

    def _open(self, slot: int | None) -> Slot | None:
        return None if slot is None else self.setup.slots.get(slot)

    def _in_force(self, pin: Pin, now: int) -> bool:
        row = self._open(pin.slot)
        return (
            row is not None and row.generation == pin.generation and not expired(pin, now, self.setup.times)
        )

    def _evictable(self, key: SessionKey, pin: Pin) -> bool:
        plain = self.setup.entries[lanes(key, len(self.setup.entries))[0]]
        return (
            self.overflow and self.setup.role == "master" and pin.state is State.OPENING and pin.slot == plain
        )

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

    def _decides(self, pin: Pin, flags: int, now: int) -> bool:
        """May the slave follow this lease? With a SYN that the master may have placed anew, it asks."""
        return leased(pin, now, self.setup.times) and not self._may_move(pin, flags)

    def _fresh(self, slot: int, parsed: Parsed, now: int) -> Pin:
        assert parsed.key is not None
        state = first_state(parsed.key.kind, parsed.tcp_flags)
        return Pin(slot, self.setup.slots[slot].generation, state, now, outer=self._outer)

    def _note_outer(self, pin: Pin) -> None:
        """A frame from inside goes to the pin's outer endpoint; one from another one contradicts the pin."""
        if self._from_inner:
            self._outer = pin.outer
        else:
            self.counts["affinity_mismatch"] += pin.outer != self._outer

    def _full(self, raw: bytes) -> bool:
        """Has the table of this key no room for another one? IPv4 has a table of its own."""
        most = self.setup.capacity
        return len(self.pins) >= most and sum(_small(key) == _small(raw) for key in self.pins) >= most

    def _choose(self, key: SessionKey) -> int | None:
        """A new session's slot. In overflow the plain hash answers, with a pin and without one (rule 7)."""
        first, second = (self.setup.entries[lane] for lane in lanes(key, len(self.setup.entries)))
        if self.overflow:
            self.counts["placed_in_overflow"] += 1
            return first
        if self.setup.policy == "maglev" or first == second:
            return first
        a, b = self._open(first), self._open(second)
        if a is None or b is None or first is None or second is None:
            return first if b is None else second
        return first if self.loads[first] * b.placed <= self.loads[second] * a.placed else second

    def _assign(self, parsed: Parsed, now: int, slot: int, reason: str) -> int:
        """Rule 1: write key -> slot, in the place of what is expired. Drops what finds no room (rule 7)."""
        assert parsed.key is not None
        raw = parsed.key.pack()
        if self._from_inner and self.setup.outers > 1:
            self._outer = self.setup.outer_entries[outer_lane(parsed.key, len(self.setup.outer_entries))]
        if raw in self.pins:
            self.counts["session_revived"] += 1
        elif self._full(raw):
            self.overflow = True
            self.counts["pin_table_full"] += 1
            if self.setup.refuse_full:
                raise _Dropped("drop_table_full")
            plain = self.setup.entries[lanes(parsed.key, len(self.setup.entries))[0]]
            if reason == "session_learned":
                return slot
            if plain is None:
                raise _Dropped("drop_no_chain")
            return plain
        self.pins[raw] = self._fresh(slot, parsed, now)
        self.counts[reason] += 1
        self.loads[slot] += 1
        return slot

    def _look(self, parsed: Parsed, now: int) -> Pin | None:
        assert parsed.key is not None
        pin = self.pins.get(parsed.key.pack())
        return pin if pin is not None and self._in_force(pin, now) else None

    def _refresh(self, parsed: Parsed, now: int, flags: int, side: int) -> int | None:
        pin = self._look(parsed, now)
        if pin is None or parsed.key is None or (side == FROM_CLIENT and self._gives_way(pin, flags, now)):
            return None
        after = refreshed(pin, now, flags, side, self.setup.times.transit)
        self.pins[parsed.key.pack()] = after
        if after.state is State.CLOSING and pin.state is not State.CLOSING:
            self.loads[pin.slot] = max(0, self.loads[pin.slot] - 1)
        self._note_outer(pin)
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
        self._note_outer(note)
        return note.slot

    def _place(self, parsed: Parsed, now: int, flags: int, side: int) -> int:
        """The master's slot for a frame, by its pin or by placing it; what only looks up is never placed."""
        if parsed.kind is FrameClass.FRAGMENT:
            slot = self._of_fragment(parsed, now)
            if slot is None:
                raise _Dropped("drop_fragment_unknown")
            self.counts["fragment_hit"] += 1
            return slot
        if parsed.kind is FrameClass.ERROR:
            pin = self._look(parsed, now)
            if pin is None:
                raise _Dropped("drop_error_unknown")
            self.counts["error_hit"] += 1
            self._note_outer(pin)
            return pin.slot
        slot = self._refresh(parsed, now, flags, side)
        if slot is None and parsed.key is not None:
            slot = self._choose(parsed.key)
            if slot is None or self._open(slot) is None:
                raise _Dropped("drop_no_chain")
            slot = self._assign(parsed, now, slot, "session_placed")
        assert slot is not None
        self._note_fragment(parsed, now, slot)
        return slot

    def _master_outer(self, parsed: Parsed, now: int) -> Verdict:
        slot = self._place(parsed, now, parsed.tcp_flags, FROM_CLIENT)
        return Verdict("inner", self.setup.slots[slot].forward, "to_chain", slot)

    def _master_chain(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        """Rule 2: a reverse tag teaches what is not known, and moves nothing."""
        if parsed.kind is FrameClass.SESSION:
            known = self._refresh(parsed, now, parsed.tcp_flags, FROM_SERVER)
            if known is None and self.setup.slots[tagged].state == "closed":
                self.counts["closed_not_learned"] += 1
            elif known is None:
                known = self._assign(parsed, now, tagged, "session_learned")
            self._check(parsed, known, tagged)
            if self.setup.outers > 1:
                self._note_fragment(parsed, now, tagged)
        elif self.setup.outers > 1:
            self._find_outer(parsed, now)
        return self._to_outer(parsed, tagged)

    def _find_outer(self, parsed: Parsed, now: int) -> None:
        """Where a frame from inside goes that has no key of its own."""
        if parsed.kind is FrameClass.FRAGMENT and self._of_fragment(parsed, now) is None:
            raise _Dropped("drop_fragment_unknown")
        if parsed.kind is FrameClass.ERROR:
            pin = self._look(parsed, now)
            if pin is None:
                raise _Dropped("drop_error_unknown")
            self._note_outer(pin)

    def _check(self, parsed: Parsed, known: int | None, tagged: int) -> None:
        """Several chains may answer one question of ARP or ND; all else that contradicts is an alarm."""
        neighbour = parsed.key is not None and parsed.key.kind in (ARP, ND)
        if known is not None and known != tagged and not neighbour:
            self.counts["affinity_mismatch"] += 1

    def _master_asked(self, parsed: Parsed, now: int, hint: int | None) -> Verdict:
        """Rule 3. The ask's own FIN or RST changes nothing until it comes out of the chain (rule 5)."""
        parsed = replace(parsed, tcp_flags=parsed.tcp_flags & ~(FIN | RST))
        slot = None
        if hint is not None and parsed.kind is FrameClass.SESSION:
            slot = self._hinted(parsed, now, hint)
        if slot is None:
            slot = self._place(parsed, now, parsed.tcp_flags, FROM_SERVER)
        return Verdict("inner", self.setup.slots[slot].reverse, "ask_answered")

    def _hinted(self, parsed: Parsed, now: int, hint: int) -> int | None:
        slot = self._refresh(parsed, now, parsed.tcp_flags, FROM_SERVER)
        if slot is not None:
            self.counts["hint_refused"] += slot != hint
        elif self.overflow:
            self.counts["hint_ignored"] += 1
        elif self.setup.slots[hint].state == "closed":
            self.counts["hint_refused"] += 1
        else:
            slot = self._assign(parsed, now, hint, "hint_honoured")
        if slot is not None:
            self._note_fragment(parsed, now, slot)
        return slot

    def _slave_outer(self, parsed: Parsed, now: int) -> Verdict:
        """Rule 3: only a lease decides; without one the packet itself asks, with a hint if there is one."""
        if parsed.kind is FrameClass.FRAGMENT:
            slot = self._of_fragment(parsed, now)
            if slot is not None:
                self.counts["fragment_hit"] += 1
                return Verdict("inner", self.setup.slots[slot].reverse, "to_chain", slot)
        else:
            pin = self._look(parsed, now)
            if pin is not None and self._decides(pin, parsed.tcp_flags, now):
                self._note_fragment(parsed, now, pin.slot)
                self.counts["error_hit"] += parsed.kind is FrameClass.ERROR
                return Verdict("inner", self.setup.slots[pin.slot].reverse, "to_chain", pin.slot)
            if pin is not None and parsed.kind is FrameClass.SESSION:
                row = self.setup.slots[pin.slot]
                if row.state != "closed" and not self._may_move(pin, parsed.tcp_flags):
                    return Verdict("inner", row.forward, "hint_sent")
        if self.setup.ask_id is None:
            return Verdict("", 0, "drop_not_ready")
        return Verdict("inner", self.setup.ask_id, "ask_sent")

    def _slave_chain(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        """Rule 2: the forward tag is the master's word: it proves the lease, and overwrites it."""
        if parsed.kind is FrameClass.SESSION and parsed.key is not None:
            old = self._look(parsed, now)
            # A session that closed may have been placed anew by its SYN.
            anew = old is not None and opens(parsed.tcp_flags) and old.state is State.CLOSING
            if old is not None and self._decides(old, parsed.tcp_flags, now) and not anew:
                self._check(parsed, old.slot, tagged)
            self._lease(parsed, now, tagged, "session_learned", "lease_renewed")
        return self._to_outer(parsed, tagged)

    def _slave_answered(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        """Rule 3: an answer becomes the lease, unless there is a valid one, which the packet then follows."""
        slot = tagged
        if parsed.kind is FrameClass.SESSION:
            old = self._look(parsed, now)
            if old is not None and self._decides(old, parsed.tcp_flags, now):
                self.counts["answer_late"] += 1
                slot = old.slot
            else:
                self._lease(parsed, now, tagged, "answer_taken", "answer_taken")
            self._note_fragment(parsed, now, slot)
        else:
            self.counts["error_hit" if parsed.kind is FrameClass.ERROR else "fragment_hit"] += 1
        return Verdict("inner", self.setup.slots[slot].reverse, "to_chain", slot)

    def _lease(self, parsed: Parsed, now: int, slot: int, new: str, again: str) -> None:
        assert parsed.key is not None
        raw, fresh = parsed.key.pack(), self._fresh(slot, parsed, now)
        old = self.pins.get(raw)
        if old is None and self._full(raw):
            self.counts["pin_table_full"] += 1
            return
        flags, transit = parsed.tcp_flags, self.setup.times.transit
        self.pins[raw] = fresh if old is None else renewed(old, fresh, flags, transit)
        self.counts[new if old is None else again] += 1

    def _to_outer(self, parsed: Parsed, tagged: int) -> Verdict:
        reason = "designated" if parsed.kind is FrameClass.OTHER else "to_outer"
        return Verdict("outer", 0, reason, tagged, self._outer)


def _small(raw: bytes) -> bool:
    """Does the key of these bytes lie in the table of IPv4 keys?"""
    mapped = bytes(10) + b"\xff\xff"
    kind = int.from_bytes(raw[40:42], "little")
    return raw[:12] == mapped and raw[16:28] == mapped and kind < 256
