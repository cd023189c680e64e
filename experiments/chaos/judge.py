"""The judge of the simulator: which session a packet belongs to, and that all of it crossed one chain. Pure.

It knows nothing of pins, leases or tables: only what hosts sent, and which chain each packet went into. Times
are ms.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakSet

from catenary.session import SessionKey
from lb_adapter.core.oracle import TCP, UDP
from lb_adapter.core.oracle_pin import (
    ACK,
    BOTH,
    FIN,
    FROM_CLIENT,
    FROM_SERVER,
    RST,
    SYN,
    State,
    Times,
    opens,
)
from lb_adapter.core.setup import Order, Verdict

SIDES = (FROM_CLIENT, FROM_SERVER)


@dataclass(slots=True, eq=False)
class Session:
    """One session on a key, and when it first went into each chain: more than one chain breaks the promise.

    `earlier` is the session of the same connection that ended by idleness; `after` the next connection on the
    key, begun by a SYN: what is under way then may go with that one. `begun` is when the connection first
    went into a chain: a rest does not tell the load balancers anew what they forgot of it. `left` are chains
    that it was ordered out of, and until when what is under way may go into them; `ended`: its
    connection was reset.
    """

    earlier: Session | None = None
    after: Session | None = None
    chains: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    begun: int | None = None
    ended: bool = False
    broken: bool = False

    def move(self, until: int) -> None:
        """It may change its chain, and be late in the old one until then."""
        self.left.update(dict.fromkeys(self.chains, until))
        self.chains.clear()
        self.begun = None

    def later(self) -> Iterator[Session]:
        """The connections that came after it: what is under way may go with any."""
        session = self.after
        while session is not None:
            yield session
            session = session.after

    def knew(self, chain: str) -> bool:
        """Was that its chain, maybe before it rested?"""
        return chain in self.chains or bool(self.earlier and self.earlier.knew(chain))

    def has(self, chain: str, now: int) -> bool:
        """Is that its chain, or was it just now?"""
        return chain in self.chains or now <= self.left.get(chain, -1)


@dataclass(slots=True, eq=False)
class Ticket:
    """What a packet counts for.

    `before`: its sender doesn't know yet that the key began a new session; it may still follow the old one.
    """

    session: Session
    before: Session | None
    side: int
    flags: int


class Arrival(NamedTuple):
    """A packet at a load balancer, tagged `vid` or at the outer port, and what became of it."""

    now: int
    role: str
    side: int
    flags: int
    vid: int | None
    verdict: Verdict

    def __str__(self) -> str:
        names = ((SYN, "SYN"), (ACK, "ACK"), (FIN, "FIN"), (RST, "RST"))
        flags = " ".join(name for bit, name in names if self.flags & bit) or "data"
        sender = "client" if self.side == FROM_CLIENT else "server"
        where = "from outside" if self.vid is None else f"tagged {self.vid}"
        to = f"{self.verdict.port} {self.verdict.vid or ''}" if self.verdict.port else "dropped"
        return (
            f"{self.now:8} ms  {self.role:6} {sender}'s {flags:7} {where:12} -> {to:10} {self.verdict.reason}"
        )


class Line:
    """Everything that happens on one key, from the hosts' point of view.

    A session ends when its key rests for longer than tau of its state, or when a new SYN opens the next one.
    A limit of the rules is known here: a FIN or RST that the server sent shortly before that SYN may be
    overtaken by the new handshake, and then counts for the next session.
    """

    def __init__(self, key: SessionKey, times: Times) -> None:
        self.key = key
        self._times = times
        self.session = Session()
        self.sessions = 1
        self.crossed_at: int | None = None
        self.story: deque[Arrival | str] = deque(maxlen=60)
        """What happened to it lately, for a counter-example."""
        self.ways: dict[tuple[str, int], int] = {}
        """When its last packet comes out of a chain, by chain and side: no chain reorders a session."""
        self._before: Session | None = None
        self._unaware = 0
        self._used = False
        self._heard = self._acked = 0
        self._opened, self._reset_at = -math.inf, 0
        self._finished: dict[int, int] = {}
        self._reset: dict[int, int] = {}
        self._late = times.lease + 2 * times.transit
        """How long after an order what was under way may go into the chain that it left."""

    @property
    def limit(self) -> int:
        """ms of quiet that the session survives."""
        if self.key.kind != TCP:
            return self._times.tau[State.UDP if self.key.kind == UDP else State.OTHER]
        if self._reset or len(self._finished) == len(SIDES):
            return self._times.tau[State.CLOSING]
        return self._times.tau[State.ESTABLISHED if self._acked == BOTH else State.OPENING]

    def sent(self, side: int, flags: int, now: int, *, fresh: bool) -> Ticket:
        """A host at `side` sends a packet; `fresh`: a SYN that is not one sent again."""
        simultaneous = self._unaware == side
        if fresh and not simultaneous and self._used:
            self._connect(side, now)
            self._heard = self._acked = 0
            self._finished, self._reset = (self._lately(sent, now) for sent in (self._finished, self._reset))
        else:
            if fresh:
                self._unaware = 0
            if self.crossed_at is not None and now - self.crossed_at > self.limit:
                self._go_on()
        self._used = True
        self._opened = now if opens(flags) else self._opened
        self._note(side, flags, now)
        return Ticket(self.session, self._before if self._unaware == side else None, side, flags)

    def _connect(self, opener: int, now: int) -> None:
        """A new connection; the other side doesn't know yet."""
        # What leads packets of a moved one into the chain that it left leads these there, too.
        before, self.session = self.session, Session(left=dict(self.session.left))
        self._before, self._unaware = before, BOTH - opener
        old: Session | None = before
        while old is not None:
            old.after, old = self.session, old.earlier
        self._count()

    @property
    def _revived(self) -> bool:
        """Has a SYN come to a tombstone? One under way at a reset, or sent again after it, opens anew."""
        return self._opened >= self._reset_at - self._times.transit

    def _reopen(self, ticket: Ticket, now: int) -> None:
        """The next connection has begun, with a SYN of the one that was reset."""
        self._connect(ticket.side, now)
        ticket.session, self._unaware = self.session, 0

    def _go_on(self) -> None:
        """The same connection, after a rest that ended the session."""
        old = self.session
        self.session = Session(earlier=old, begun=old.begun, left=dict(old.left), ended=old.ended)
        self._before, self._unaware = None, 0
        self._count()

    def _count(self) -> None:
        self.sessions += 1
        self.crossed_at = None

    def _lately(self, sent: Mapping[int, int], now: int) -> dict[int, int]:
        """What the server side sent so lately that it may come after the new handshake: by ask and chain."""
        return {
            side: at
            for side, at in sent.items()
            if side == FROM_SERVER and now - at <= 4 * self._times.transit
        }

    def _note(self, side: int, flags: int, now: int) -> None:
        if flags & FIN:
            self._finished[side] = now
        if flags & RST:
            self._reset[side] = now

    def delivered(self, ticket: Ticket, side: int) -> None:
        """The host at `side` got a packet."""
        if ticket.session is self.session and ticket.before is None:
            self._heard |= side
            if self._unaware == side:
                self._unaware = 0

    def heard(self, side: int) -> bool:
        """Has the host at `side` got a packet of this connection?"""
        return bool(self._heard & side)

    def entered(self, ticket: Ticket, chain: str, now: int) -> bool:
        """A packet went into a chain: True if that breaks a session that was whole until now."""
        ended = ticket.session.ended and (ticket.session is self.session or opens(ticket.flags))
        if ended and not ticket.flags & RST and not ticket.session.knew(chain) and self._revived:
            self._reopen(ticket, now)
        if ticket.session is self.session:
            self.crossed_at = now
            # A handshake is over when its ACK has gone in: before, no load balancer could know.
            if ticket.flags & ACK:
                self._acked |= ticket.side
        session = ticket.session
        after = session.after
        if session.ended and after and not session.knew(chain) and self._nowhere(after, chain, now):
            # On the bypass, the next connection's SYN has overtaken it: both go where that one goes.
            after.chains = {chain: now}
        others = (ticket.before, *session.later())
        if now <= session.left.get(chain, -1) or any(other and other.has(chain, now) for other in others):
            return False
        session.chains.setdefault(chain, now)
        session.begun = now if session.begun is None else session.begun
        if len(session.chains) == 1 or session.broken:
            return False
        session.broken = True
        return True

    def _nowhere(self, session: Session, chain: str, now: int) -> bool:
        """Is it in no chain yet? The pin that was reset may have been that of the connection before."""
        placed = session.chains and not (session.ended and session.begun == self._reset_at)
        return not placed and not session.has(chain, now)

    def let_go(self, now: int) -> None:
        """An order places anew what is idle: this session, too, if nothing of it can be in a chain."""
        if self.crossed_at is not None and now - self.crossed_at <= self._times.transit:
            return
        for session in self._known():
            session.move(-1)

    def moved(self, chain: str, now: int, *, closed: bool) -> None:
        """An order took it out of this chain; for a while, what is under way may still go in.

        If the chain was closed before, that is only an answer of the master's: it teaches no lease.
        """
        for session in self._known():
            session.chains.setdefault(chain, now)
            session.move(now + (self._times.transit if closed else self._late))

    def reset(self, chain: str | None, now: int) -> None:
        """An order ended it in this chain: what still comes may be dropped, and may not go into another."""
        for session in self._known():
            if chain is not None and not session.chains:
                session.chains[chain] = now
                session.begun = now if session.begun is None else session.begun
            session.ended = True
        self._reset_at = now
        if self.crossed_at is None:
            self.crossed_at = now

    def forgotten(self, role: str, now: int) -> None:
        """A session table that overflows takes its tombstone back: it may be placed anew, once.

        Where the slave's is, the master may still have its own, and answer with a RST in the old chain.
        """
        for session in self._known():
            if session.ended:
                session.move(now + self._late)
                session.ended = role == "slave"

    def _known(self) -> Iterator[Session]:
        """All whose packets may be on their way yet: those that rested, and the connection before."""
        for first in (self.session, self._before):
            session = first
            while session is not None:
                yield session
                session = session.earlier

    def left(self, ticket: Ticket, now: int) -> None:
        """A packet came out of a chain. An ACK long enough after a RST shows that the session lives."""
        if ticket.session is not self.session:
            return
        self.crossed_at = now
        lives = ticket.flags & ACK and not ticket.flags & (FIN | RST)
        if lives and self._reset and now - max(self._reset.values()) > 6 * self._times.transit:
            self._reset.clear()


class Lines:
    """All keys in use."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._lines: WeakSet[Line] = WeakSet()

    def add(self, key: SessionKey) -> Line:
        line = Line(key, self._times)
        self.take(line)
        return line

    def take(self, line: Line) -> None:
        self._lines.add(line)

    def swept(self, role: str, order: Order, ended: Mapping[bytes, str], now: int) -> None:
        """An order has just ended pins, by key of this chain each. The slave's part of it moves nothing."""
        for line in self._lines:
            chain = ended.get(line.key.pack())
            if chain is None:
                continue
            line.story.append(f"{now:8} ms  {role:6} order: {order.mode}{' idle' if order.idle else ''}")
            if order.mode == "reset" and line.key.kind == TCP:
                line.reset(chain if role == "master" else None, now)
            elif role == "master" and order.idle:
                line.let_go(now)
            elif role == "master":
                line.moved(chain, now, closed=order.slot is not None)

    def forgot(self, role: str, keys: Collection[bytes], now: int) -> None:
        """A load balancer has just taken back these tombstones, for it needs their room."""
        for line in self._lines:
            if line.key.pack() in keys:
                line.story.append(f"{now:8} ms  {role:6} evicts a tombstone")
                line.forgotten(role, now)
