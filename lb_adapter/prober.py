"""A master's probes: sends them into its chains, and tells who listens what became of a chain.

A thread with a socket of its own on the inner port. What comes back is noted by the data plane
(core/probe.h), so nothing is received here.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from catenary.health import HealthCheck
from catenary.tags import TagPair
from lb_adapter import health, probing
from lb_adapter.dataplane.base import DataPlane
from lb_adapter.health import Health, Probing

log = structlog.get_logger("lb_adapter")
IDLE = 1.0
"""s between looks while there is nothing to probe."""


@dataclass(frozen=True)
class Target:
    """A chain to be probed, and its place in the data plane."""

    tags: TagPair
    slot: int
    generation: int


class Prober:
    """`targets` says what is to be probed, and what is down already; `turned` is called when that changes."""

    def __init__(
        self,
        plane: DataPlane,
        device: str,
        targets: Callable[[], Mapping[Target, bool]],
        turned: Callable[[], None],
        *,
        quiet: float,
    ) -> None:
        self._plane, self._device = plane, device
        self._targets, self._turned, self._quiet = targets, turned, quiet
        self._check: HealthCheck | None = None
        self._chains: dict[Target, Probing] = {}
        self._numbers = itertools.count(time.monotonic_ns() & 0xFFFF)
        self._socket: socket.socket | None = None
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)
        self.trouble: str | None = None
        self._unsent: str | None = None

    @property
    def check(self) -> HealthCheck | None:
        """What is in force."""
        return self._check

    def set(self, check: HealthCheck | None) -> None:
        """Probe so from now on; nothing that was seen by another check counts."""
        self._check, self._chains = check, {}
        self._wake.set()

    def verdicts(self) -> Mapping[TagPair, Health]:
        """What is known of each chain."""
        return {target.tags: chain.health for target, chain in dict(self._chains).items()}

    def acquit(self) -> None:
        """The slave is back, without which no probe comes back: that chains fell meanwhile does not count."""
        wanted, now = self._targets(), time.monotonic()
        self._chains = {
            target: chain if wanted.get(target) else health.acquitted(chain, now)
            for target, chain in dict(self._chains).items()
        }
        self._wake.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            wait = IDLE
            try:
                wait = self._step()
                trouble = self._unsent
            except Exception as error:  # noqa: BLE001 - traffic goes on without probes; the next may do better
                trouble = f"probes fail: {error}"
            if trouble is not None and self.trouble is None:
                log.error("probes fail", device=self._device, reason=trouble)
            self.trouble = trouble
            self._wake.wait(wait)
            self._wake.clear()

    def _step(self) -> float:
        """Do what is due; s until the next is."""
        check, chains = self._check, self._chains
        if check is None:
            return IDLE
        wanted, now = self._targets(), time.monotonic()
        for gone in chains.keys() - wanted.keys():
            del chains[gone]
        for target in wanted.keys() - chains.keys():
            chains[target] = Probing(Health("down" if wanted[target] else "unknown", now), due=now)
        changed = False
        for target, chain in list(chains.items()):
            if chain.due <= time.monotonic():
                chains[target] = after = self._on(check, target, chain)
                changed |= self._tell(target, chain.health, after.health)
        if changed and chains is self._chains:
            self._turned()
        due = min((chain.due for chain in chains.values()), default=time.monotonic() + IDLE)
        return min(IDLE, max(0.0, due - time.monotonic()))

    def _on(self, check: HealthCheck, target: Target, chain: Probing) -> Probing:
        if chain.number is not None:
            seen = self._plane.probed(target.slot)
            chain = health.judged(chain, check, seen, time.monotonic(), self._quiet)
        if chain.due > time.monotonic():
            return chain
        number = next(self._numbers) % probing.NUMBERS
        sent_ns = time.monotonic_ns()
        try:
            self._out().send(probing.frame(check, target.tags, number))
        except OSError as error:  # ours, not the chain's: the port is down, or its queue is full
            self._close()
            self._unsent = f"probes can't be sent by {self._device}: {error.strerror}"
            return health.unsent(chain, check, time.monotonic())
        self._unsent = None
        return health.sent(chain, check, number, sent_ns)

    def _out(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((self._device, 0))
        return self._socket

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, target: Target, before: Health, after: Health) -> bool:
        if before.verdict == after.verdict:
            return False
        pair, latency = str(target.tags), after.latency
        match after.verdict:
            case "down":
                log.error("chain down", pair=pair, lost=after.lost, falls=len(after.falls))
            case "unproven":
                log.error(
                    "no probe came back ever",
                    pair=pair,
                    fix="see that network functions let probes pass, or use another kind; traffic goes on",
                )
            case _:
                log.info("chain up", pair=pair, latency_ms=round(1000 * (latency or 0.0), 3))
        return True
