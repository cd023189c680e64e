"""Threads that note what happens: bytes out of every NF (from the witness's taps) ten times a second and,
where there is a management system, its own view of its chains twice a second."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import numpy as np

from catenary.client import ManagementClient
from catenary.errors import Unavailable
from catenary.wire import StatusView
from experiments.demo.figures import Series
from witness.recording import OUT_OF
from witness.taps import Taps

SAMPLE_S = 0.1
STATUS_S = 0.5


class Meter:
    """Samples from entering the context until leaving it. `nfs`: chain -> the NF by which it is measured."""

    def __init__(self, taps: Taps, nfs: dict[str, str], management: ManagementClient | None = None) -> None:
        self._taps = taps
        self._nfs = nfs
        self._stop = threading.Event()
        self._times: list[float] = []
        self._octets: list[list[float]] = []
        self._threads = [threading.Thread(target=self._sample)]
        if management is not None:
            self._threads.append(threading.Thread(target=self._ask, args=(management,)))
        self.status: StatusView | None = None
        """The last answer; None before the first."""
        self.away: str | None = None
        """Why the management system did not answer the last time."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def series(self) -> Series:
        """All samples so far."""
        count = len(self._octets)
        octets = np.array(self._octets[:count], dtype=np.float64).reshape(count, len(self._nfs))
        return Series(tuple(self._nfs), np.array(self._times[:count]), octets)

    def _sample(self) -> None:
        places = [(f"{nf}.ingress", f"{nf}.egress") for nf in self._nfs.values()]
        while not self._stop.is_set():
            totals = self._taps.totals()
            row = [float(sum(totals[place, OUT_OF].octets for place in ports)) for ports in places]
            self._times.append(time.monotonic())
            self._octets.append(row)
            self._stop.wait(SAMPLE_S)

    def _ask(self, management: ManagementClient) -> None:
        while not self._stop.is_set():
            try:
                self.status, self.away = management.status(), None
            except Unavailable as error:
                self.away = error.detail
            self._stop.wait(STATUS_S)
