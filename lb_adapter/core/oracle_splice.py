"""The oracle of `splice.h`: the decisions of both roles, in plain Python.

Written from the rules of affinity (docs/ARCHITECTURE.md), which the comments number. `now` is ms of any clock
that only grows. What two CPUs may do to one pin is the matter of tests/unit/test_lb_interleavings.py.
"""

from __future__ import annotations

from dataclasses import replace

from lb_adapter.core.oracle import TAGS, FrameClass, Parsed, coarsen, parse
from lb_adapter.core.oracle_pin import (
    FIN,
    FROM_CLIENT,
    FROM_SERVER,
    RST,
    Pin,
    State,
    leased,
    opens,
    renewed,
    revives,
    server_ends,
)
from lb_adapter.core.oracle_probe import answer as answer_probe
from lb_adapter.core.oracle_probe import is_probe
from lb_adapter.core.oracle_reset import answer
from lb_adapter.core.oracle_table import Dropped, Ended, SessionTable
from lb_adapter.core.setup import Setup, Verdict
from lb_adapter.dataplane.base import TakeOver


class Splice(SessionTable):
    """One splice: a frame in, a verdict and the frame as it is sent out."""

    def configure(self, setup: Setup) -> None:
        super().configure(setup)
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
        parsed = parse(frame, beside)
        self._size, self._packets = len(frame), 1
        return self._emit(self.decide_outer(parsed, now, endpoint), frame, beside, parsed)

    def inner(
        self, frame: bytes, now: int, beside: int | None = None, *, slot: int | None = None
    ) -> tuple[Verdict, bytes]:
        """A frame from the inner side: out of the plain interface `slot`, or with the own tag outermost."""
        if slot is not None:
            parsed = parse(frame, beside)
            self._size, self._packets = len(frame), 1
            return self._emit(self._decide(parsed, now, "chain", slot), frame, beside, parsed)
        if beside is None and len(frame) >= 18 and int.from_bytes(frame[12:14], "big") == TAGS[0]:
            beside = int.from_bytes(frame[14:16], "big") & 0x0FFF
            frame = frame[:12] + frame[16:]
        if not beside:
            return self._emit(Verdict("", 0, "drop_untagged"), frame, None, Parsed(FrameClass.BAD))
        parsed = parse(frame)
        self._size, self._packets = len(frame), 1
        return self._emit(self.decide_inner(parsed, beside, now), frame, None, parsed)

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

    def _emit(
        self, verdict: Verdict, frame: bytes, beside: int | None, parsed: Parsed
    ) -> tuple[Verdict, bytes]:
        self.counts[verdict.reason] += 1
        if verdict.reason == "session_reset":
            frame = answer(frame, parsed.upper)
        if verdict.reason == "probe_turned":
            frame = answer_probe(frame)
        for vid in (beside, verdict.vid or None):
            if vid is not None:
                frame = frame[:12] + TAGS[0].to_bytes(2, "big") + vid.to_bytes(2, "big") + frame[12:]
        return verdict, frame if verdict.port else b""

    def _decide(self, parsed: Parsed, now: int, where: str, tagged: int | None) -> Verdict:
        slave = self.setup.role == "slave"
        forward = not slave if where == "outer" else slave and where == "chain"
        if is_probe(parsed, self._size, self.setup.probes):
            return self._probe(where, tagged, slave)
        parsed = coarsen(parsed, self.setup.affinity, forward)
        self._from_inner, self._asked = where != "outer", where in ("ask", "hint")
        if self._from_inner:
            self._outer = 0
        self._other = self._entry = None
        if self._asked:
            self._size = self._packets = 0
        if parsed.kind is FrameClass.BAD:
            return Verdict("", 0, parsed.reason)
        try:
            if where == "chain" and tagged is not None:
                return (self._slave_chain if slave else self._master_chain)(parsed, now, tagged)
            if parsed.kind is FrameClass.OTHER:
                return self._designated(where, slave)
            if self.take_over is TakeOver.HOLD and where != "answer":
                return Verdict("", 0, "drop_take_over")
            if where == "outer":
                return (self._slave_outer if slave else self._master_outer)(parsed, now)
            if where == "answer" and tagged is not None:
                return self._slave_answered(parsed, now, tagged)
            return self._master_asked(parsed, now, tagged)
        except Ended as ended:
            return self._refuse(parsed, where, tagged, ended.tombstone)
        except Dropped as dropped:
            return Verdict("", 0, dropped.reason)

    def _probe(self, where: str, tagged: int | None, slave: bool) -> Verdict:
        """A probe is no session's: turned by the slave, noted by the master, and dropped anywhere else."""
        if where != "chain":
            return Verdict("", 0, "drop_probe")
        if not slave:
            return Verdict("", 0, "probe_returned", tagged)
        row = self._open(tagged)
        if row is None:
            return Verdict("", 0, "drop_no_chain")
        return Verdict("inner", row.reverse, "probe_turned", tagged)

    def _refuse(self, parsed: Parsed, where: str, tagged: int | None, tombstone: Pin) -> Verdict:
        """What met a tombstone is answered by a RST, and so are both ends, each at its next packet."""
        asked = where in ("ask", "hint")
        self.counts["hint_refused"] += where == "hint" and parsed.kind is FrameClass.SESSION
        if parsed.kind is not FrameClass.SESSION or parsed.fragment or parsed.tcp_flags & RST:
            return Verdict("", 0, "drop_reset")
        if where == "outer":
            return Verdict("outer", 0, "session_reset", outer=self._outer)
        # Server side at the master: forward through the chain that the packet came by, or was of.
        slot = tombstone.slot if asked else tagged
        row = self._open(slot)
        if row is None or (asked and row.generation != tombstone.generation):
            return Verdict("", 0, "drop_reset")
        return Verdict("inner", row.forward, "session_reset")

    def _designated(self, where: str, slave: bool) -> Verdict:
        if where != "outer":
            return Verdict("", 0, "drop_malformed")  # what is no session is never asked about
        row = self._open(self.setup.designated)
        if row is None:
            return Verdict("", 0, "drop_no_chain")
        return Verdict("inner", row.reverse if slave else row.forward, "designated", self.setup.designated)

    def _place(self, parsed: Parsed, now: int, flags: int, side: int) -> int:
        """The master's slot for a frame, by its pin or by placing it; what only looks up is never placed."""
        if parsed.kind is FrameClass.FRAGMENT:
            slot = self._of_fragment(parsed, now)
            if slot is None:
                raise Dropped("drop_fragment_unknown")
            self.counts["fragment_hit"] += 1
            return slot
        if parsed.kind is FrameClass.ERROR:
            pin = self._about(parsed, now)
            self.counts["error_hit"] += 1
            self._note_outer(parsed, pin)
            return pin.slot
        slot = self._refresh(parsed, now, flags, side)
        if slot is None and parsed.key is not None:
            slot = self._choose(parsed)
            if slot is None:
                raise Dropped("drop_no_chain")
            slot = self._assign(parsed, now, slot, "session_placed")
            self._count_orphan(parsed)
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
            raise Dropped("drop_fragment_unknown")
        if parsed.kind is FrameClass.ERROR:
            self._note_outer(parsed, self._about(parsed, now))

    def _about(self, parsed: Parsed, now: int) -> Pin:
        """The session that an ICMP error is about."""
        pin = self._look(parsed, now)
        if pin is None or self._stranded(pin):
            raise Dropped("drop_error_unknown")
        if pin.state is State.RESET:
            raise Ended(pin)
        return pin

    def _check(self, parsed: Parsed, known: int | None, tagged: int) -> None:
        """A tag that contradicts a live pin is an alarm."""
        if known is not None and known != tagged and not parsed.is_neighbour:
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
        try:
            slot = self._refresh(parsed, now, parsed.tcp_flags, FROM_SERVER)
        except Dropped as dropped:
            self.counts["hint_refused"] += dropped.reason == "drop_closed"  # a tombstone's is counted later
            raise
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
            if pin is not None and pin.state is State.RESET:
                return self._asks_unless_reset(parsed, pin, now)
            if pin is not None and parsed.key and self._decides(pin, parsed.tcp_flags, now):
                if parsed.kind is FrameClass.SESSION:
                    self._carry(parsed.key.pack())
                if parsed.kind is FrameClass.SESSION and parsed.tcp_flags & FIN:
                    self.pins[parsed.key.pack()] = server_ends(pin)
                self._note_fragment(parsed, now, pin.slot)
                self.counts["error_hit"] += parsed.kind is FrameClass.ERROR
                return Verdict("inner", self.setup.slots[pin.slot].reverse, "to_chain", pin.slot)
            if pin is not None and parsed.kind is FrameClass.SESSION:
                row = self.setup.slots[pin.slot]
                if row.state != "closed" and not self._may_move(pin, parsed.tcp_flags):
                    return Verdict("inner", row.forward, "hint_sent")
        return self._ask()

    def _asks_unless_reset(self, parsed: Parsed, tombstone: Pin, now: int) -> Verdict:
        """A SYN on a tombstone is the next connection's: it is for the master to place."""
        if revives(parsed.tcp_flags):
            return self._ask()
        if parsed.kind is FrameClass.SESSION and parsed.key is not None:
            self.pins[parsed.key.pack()] = tombstone._replace(seen=now)
        raise Ended(tombstone)

    def _ask(self) -> Verdict:
        if self.setup.ask_id is None:
            return Verdict("", 0, "drop_not_ready")
        return Verdict("inner", self.setup.ask_id, "ask_sent")

    def _slave_chain(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        """Rule 2: the forward tag is the master's word: it proves the lease, and overwrites it."""
        if parsed.kind is FrameClass.SESSION and parsed.key is not None:
            old = self._look(parsed, now)
            kept = self.pins.get(parsed.key.pack())
            if parsed.tcp_flags & RST and (kept is None or kept.slot != tagged):
                return self._to_outer(parsed, tagged)  # for the connection before: it teaches nothing
            if self._over(old, parsed):
                return self._to_outer(parsed, tagged)
            if old is not None and old.state is not State.RESET and leased(old, now, self.setup.times):
                # A SYN may have been placed anew: its session had closed, or its chain takes none.
                closed = opens(parsed.tcp_flags) and old.state is State.CLOSING
                if not closed and not self._may_move(old, parsed.tcp_flags):
                    self._check(parsed, old.slot, tagged)
            self._lease(parsed, now, tagged, FROM_CLIENT)
        return self._to_outer(parsed, tagged)

    def _slave_answered(self, parsed: Parsed, now: int, tagged: int) -> Verdict:
        """Rule 3: an answer becomes the lease, unless there is a valid one, which the packet then follows."""
        slot = tagged
        if parsed.kind is FrameClass.SESSION:
            old = self._look(parsed, now)
            if old is not None and old.state is not State.RESET and self._decides(old, parsed.tcp_flags, now):
                assert parsed.key is not None
                self.counts["answer_late"] += 1
                self._carry(parsed.key.pack())
                slot = old.slot
            elif not self._over(old, parsed):
                self._lease(parsed, now, tagged, FROM_SERVER)
            self._note_fragment(parsed, now, slot)
        else:
            self.counts["error_hit" if parsed.kind is FrameClass.ERROR else "fragment_hit"] += 1
        return Verdict("inner", self.setup.slots[slot].reverse, "to_chain", slot)

    def _over(self, old: Pin | None, parsed: Parsed) -> bool:
        """Nothing but a SYN takes the place of a tombstone."""
        return old is not None and old.state is State.RESET and not revives(parsed.tcp_flags)

    def _lease(self, parsed: Parsed, now: int, slot: int, side: int) -> None:
        """A closed chain teaches nothing: a lease would bring back what was let go."""
        assert parsed.key is not None
        if self._closed(slot):
            self.counts["closed_not_learned"] += 1
            return
        raw, fresh = parsed.key.pack(), self._fresh(slot, parsed, now)
        old = self.pins.get(raw)
        if old is None and self._full(raw):
            self.counts["pin_table_full"] += 1
            return
        flags, transit = parsed.tcp_flags, self.setup.times.transit
        self.pins[raw] = fresh if old is None else renewed(old, fresh, flags, side, transit)
        known = old is not None and old.state is not State.RESET and self._in_force(old, now)
        if known and old is not None and old.slot == slot:
            self._carry(raw)
        else:
            if old is not None:
                self._tell_over(raw, old, "replaced")
            self._begin(raw, "answered" if side == FROM_SERVER else "learned", slot, now)
        learned = "session_learned" if old is None else "lease_renewed"
        self.counts["answer_taken" if side == FROM_SERVER else learned] += 1

    def _to_outer(self, parsed: Parsed, tagged: int) -> Verdict:
        reason = "designated" if parsed.kind is FrameClass.OTHER else "to_outer"
        return Verdict("outer", 0, reason, tagged, self._outer)
