"""The loop that has segments scale by themselves, and canaries keep their share: a thread beside the engine.

It decides by `autoscaler`, and asks for changes as an operator does: an add, a removal or a cancel is an
operation on disk, which the engine sees through. What it has forgotten after a crash it finds out anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import structlog

from catenary.autoscale import ScaleView
from catenary.errors import CatenaryError
from mgmt_system import canaries
from mgmt_system.current import Current
from mgmt_system.manager import Manager
from mgmt_system.peers import Peers
from mgmt_system.rounds import Rounds
from mgmt_system.segment_scaler import AUTOSCALER, Parts, SegmentScaler, configured
from mgmt_system.store.ledger import Ledger

TICK = 0.25
"""Seconds between looks at what provisioners have done."""
WORKERS = 16
"""Programs of provisioners that run at a time."""
CANARIES = 1.0
"""Seconds between looks at the shares of canaries."""
FOLLOWS = "another management system leads, and decides"
log = structlog.get_logger("mgmt_system")


class Scaling:
    """`peers` should have a short timeout. `hooks` is the folder of programs that provisioners may run.

    `clock` gives seconds since the epoch, `monotonic` only measures.
    """

    def __init__(
        self,
        ledger: Ledger,
        manager: Manager,
        peers: Peers,
        network: Current,
        hooks: Path | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = Parts(ledger, manager, peers, network, hooks, clock, monotonic, _workers())
        self._scalers: dict[str, SegmentScaler] = {}
        self._views: dict[str, ScaleView] = {}
        self._kept = float("-inf")
        self._rounds = Rounds("scaling", self._round, "no decision of the autoscaler")

    def start(self) -> None:
        self._rounds.start()

    def stop(self) -> None:
        """Programs that run are ended."""
        self._rounds.stop()
        self._forget()
        self._parts.workers.shutdown(wait=True, cancel_futures=True)

    def views(self) -> list[ScaleView]:
        """Each autoscaler with its last decision, if it made one in the mode that it has now."""
        known = self._views
        wanted = self._parts.network.config.autoscale
        plain = {name: configured(name, scale, "there was no decision yet") for name, scale in wanted.items()}
        return [
            known[name] if name in known and known[name].mode == view.mode else view
            for name, view in plain.items()
        ]

    def _round(self) -> float:
        """If it fails, traffic goes on; whoever looks sees by `at` that nothing is decided."""
        self.step()
        return TICK

    def step(self) -> None:
        """Look after all segments."""
        parts = self._parts
        wanted = parts.network.config.autoscale
        if not parts.ledger.leads:
            self._forget()
            self._views = {name: configured(name, scale, FOLLOWS) for name, scale in wanted.items()}
            return
        if parts.ledger.fault is not None:  # what can't be written down is not begun
            for scaler in self._scalers.values():
                scaler.hold(parts.ledger.fault)
            self._show()
            return
        self._keep_shares()
        for name, scale in wanted.items():
            if name not in self._scalers or not self._scalers[name].follow(scale):
                self._scalers[name] = SegmentScaler(name, scale, parts)
            scaler = self._scalers[name]
            try:
                scaler.step()
            except CatenaryError as error:  # the store: it is decided afresh when it can be written
                scaler.hold(error.detail)
        self._show()
        for name in [name for name in self._scalers if name not in wanted]:
            self._scalers.pop(name).close()

    def _show(self) -> None:
        self._views = {name: scaler.view for name, scaler in self._scalers.items()}

    def _keep_shares(self) -> None:
        """Have canaries weigh what their share needs. A master that is silent is asked again."""
        parts, now = self._parts, self._parts.monotonic()
        if now - self._kept < CANARIES:
            return
        self._kept = now
        for segment in parts.network.segments:
            for name in canaries.due(parts.ledger.snapshot().of(segment)):
                try:
                    parts.manager.reweigh("weight", name, partial(canaries.kept, name), AUTOSCALER, None)
                except CatenaryError as error:
                    log.warning("a canary can't have its share now", chain=name, reason=error.detail)

    def _forget(self) -> None:
        for scaler in self._scalers.values():
            scaler.close()
        self._scalers.clear()


def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="provisioning")
