"""Where a master's slave is, if that has a standby: at one of two addresses, and it may move.

Both are asked how they are. Who is of the latest term is the slave: each time that a standby takes the
slave's place is a term of its own. Whoever is of an earlier one was fenced, and is told so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any, Literal, Protocol, TypeVar

import structlog

from catenary import wire
from catenary.errors import CatenaryError, Unavailable

log = structlog.get_logger("lb_adapter")
T = TypeVar("T")
EVERY = 0.1
"""s between two looks at the other address."""
WORKERS = 4


class Peer(Protocol):
    """What the master asks of its slave (`catenary.part_clients.BalancerClient`)."""

    @property
    def url(self) -> str: ...
    def health(self) -> wire.BalancerHealth: ...
    def pairs(self) -> wire.ChainSet: ...
    def pins(self, since_ms: int | None) -> Iterator[bytes]: ...
    def put_pins(self, master_id: str, stream: Iterator[bytes]) -> None: ...
    def stats(self) -> wire.BalancerStats: ...
    def handshake(self, handshake: wire.Handshake) -> wire.HandshakeReply: ...
    def put_chain_set(self, update: wire.ChainSetUpdate) -> None: ...
    def nonce(self, request: wire.NonceRequest) -> wire.Nonce: ...
    def sweep(self, order: wire.SweepOrder) -> wire.Swept: ...


class Place(Peer, Protocol):
    """One of the two."""

    def dismiss(self, dismissal: wire.Dismissal) -> None: ...


def judged(segment: str, known: int, there: wire.BalancerHealth) -> Literal["move", "dismiss"] | None:
    """What follows from the other one's health, where `known` is the term of the slave. Pure."""
    if (there.role, there.segment) != ("slave", segment):
        return None
    if there.standby is not None and there.standby.state == "following":
        return None
    if there.slave_term > known:
        return "move"
    return "dismiss" if there.slave_term < known else None


class Places:
    """A slave, as `Peer`, at `here` or where its standby is: a call under way is given up when it moves."""

    def __init__(self, segment: str, here: Place, there: Place) -> None:
        self._segment = segment
        self._here, self._there = here, there
        self._term = 0
        self._left: Future[None] = Future()
        self._dismissed: str | None = None
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="slave")
        self._stop = threading.Event()
        self._moved: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._watch, name="places", daemon=True)

    def start(self, moved: Callable[[], None]) -> None:
        """Look from now on; `moved` is called whenever the slave is at the other address."""
        self._moved = moved
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.look()
            except CatenaryError as error:
                log.debug("the slave's other address does not answer", reason=error.detail)
            except Exception:
                log.exception("the slave's other address was not looked at")

    def look(self) -> None:
        """Ask the other one how it is, and act on it."""
        there = self._there
        health = there.health()
        verdict = judged(self._segment, self._term, health)
        if verdict == "move":
            self._move(health.slave_term)
        elif verdict == "dismiss" and health.instance != self._dismissed:
            there.dismiss(wire.Dismissal(slave_id=health.instance, slave_term=self._term))
            self._dismissed = health.instance
            log.warning("former slave dismissed", url=there.url, term=health.slave_term, present=self._term)

    def _move(self, term: int) -> None:
        with self._lock:
            self._here, self._there = self._there, self._here
            self._term = term
            left, self._left = self._left, Future()
        log.warning("slave moved", url=self._here.url, before=self._there.url, term=term)
        left.set_result(None)
        self._moved()

    def _ask(self, call: Callable[[Place], T]) -> T:
        """The answer, unless the slave moves meanwhile: a machine that is gone gives none for long."""
        with self._lock:
            here, left = self._here, self._left
        asked = self._pool.submit(copy_context().run, call, here)
        both: list[Future[Any]] = [asked, left]
        wait(both, return_when=FIRST_COMPLETED)
        if left.done():
            raise Unavailable(f"the slave at {here.url} was given up: its standby has taken its place")
        return asked.result()

    @property
    def url(self) -> str:
        return self._here.url

    @property
    def other_url(self) -> str:
        """Where its standby is."""
        return self._there.url

    def health(self) -> wire.BalancerHealth:
        health = self._ask(lambda at: at.health())
        with self._lock:
            self._term = max(self._term, health.slave_term)
        return health

    def pairs(self) -> wire.ChainSet:
        return self._ask(lambda at: at.pairs())

    def pins(self, since_ms: int | None) -> Iterator[bytes]:
        """All of them are here when it returns: a stream would be waited for, should the slave move."""
        return iter(self._ask(lambda at: list(at.pins(since_ms))))

    def put_pins(self, master_id: str, stream: Iterator[bytes]) -> None:
        self._ask(lambda at: at.put_pins(master_id, stream))

    def stats(self) -> wire.BalancerStats:
        return self._ask(lambda at: at.stats())

    def handshake(self, handshake: wire.Handshake) -> wire.HandshakeReply:
        return self._ask(lambda at: at.handshake(handshake))

    def put_chain_set(self, update: wire.ChainSetUpdate) -> None:
        self._ask(lambda at: at.put_chain_set(update))

    def nonce(self, request: wire.NonceRequest) -> wire.Nonce:
        return self._ask(lambda at: at.nonce(request))

    def sweep(self, order: wire.SweepOrder) -> wire.Swept:
        return self._ask(lambda at: at.sweep(order))
