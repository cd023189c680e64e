"""Asks all masters for their statistics, again and again, and keeps what follows from them: a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import structlog

from catenary import wire
from catenary.errors import CatenaryError
from mgmt_system.current import Current
from mgmt_system.peers import Peers
from mgmt_system.traffic import Heard, Ring, Sampler

WATCHED, UNWATCHED = 1.0, 5.0
"""Seconds between samples, while somebody looks and while nobody does: counting costs the masters a walk."""
LOOKS = 30.0
"""For how many seconds a look at the samples counts as looking."""
PATIENCE = 0.8
"""Seconds that a sample waits for masters; one that is late is in the next."""
log = structlog.get_logger("mgmt_system")


class Sampling:
    """`peers` should have a short timeout.

    `clock` gives seconds since the epoch, `monotonic` only measures.
    """

    WORKERS = 8

    def __init__(
        self,
        peers: Peers,
        network: Current,
        chains: Callable[[], Sequence[wire.ChainView]],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peers = peers
        self._network = network
        self._chains = chains
        self._clock = clock
        self._monotonic = monotonic
        self._sampler = Sampler()
        self._ring = Ring()
        self._lock = threading.Lock()
        self._last = 0.0
        self._looked = float("-inf")
        self._asked: dict[str, Future[Heard | None]] = {}
        self._pool = self._workers()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.WORKERS, thread_name_prefix="sampling")

    def start(self) -> None:
        """It may be started and stopped more than once."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="sampling")
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._asked = self._workers(), {}

    def read(self, since: float | None, limit: int) -> list[bytes]:
        """Samples later than the moment `since`, as JSON, oldest first; without it the last one."""
        unwatched = self._monotonic() - self._looked > LOOKS
        self._looked = self._monotonic()
        if unwatched:
            self._wake.set()
        with self._lock:
            return self._ring.since(since, limit)

    def _run(self) -> None:
        while not self._stop.is_set():
            began = self._monotonic()
            try:
                self.sample()
            except Exception:  # who looks is told by its age that a sample is old
                log.exception("no sample of the traffic")
            every = WATCHED if began - self._looked <= LOOKS else UNWATCHED
            self._wake.wait(max(0.0, began + every - self._monotonic()))
            self._wake.clear()  # what it was set for is seen above: a stop, or a look

    def sample(self) -> None:
        """Take one sample."""
        segments = dict(self._network.segments)
        for name, segment in segments.items():
            if name not in self._asked:
                self._asked[name] = self._pool.submit(self._ask, segment.master)
        wait(self._asked.values(), PATIENCE)
        done = {name: future for name, future in self._asked.items() if future.done()}
        self._asked = {name: future for name, future in self._asked.items() if name not in done}
        answers = {name: future.result() for name, future in done.items() if name in segments}
        heard = {name: answer for name, answer in answers.items() if answer is not None}
        timeouts = {name: segment.timeouts.timeouts() for name, segment in segments.items()}
        # Strictly later than the last one, whatever the clock does: readers go on by it.
        self._last = max(self._clock(), self._last + 1e-3)
        known = [chain for chain in self._chains() if chain.segment in segments]
        sample = self._sampler.sample(self._last, known, heard, timeouts)
        with self._lock:
            self._ring.put(self._last, sample.model_dump_json().encode())

    def _ask(self, master: str) -> Heard | None:
        try:
            stats = self._peers.balancers[master].stats()
        except CatenaryError:
            return None
        return Heard(self._monotonic(), stats)
