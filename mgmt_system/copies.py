"""The copies of a segment's NFs, and what its provisioner makes of them: started and stopped one by one.

What a copy is, is told from what was done since this process leads; before that it is `unknown`. Unless a
chain has it, such a copy is stopped: one that was being started in a crash is not left running.
A copy that could not be started or stopped is stopped, and put aside for longer each time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from catenary.autoscale import CopyState, CopyView
from catenary.errors import CatenaryError
from mgmt_system.provisioning import Provisioner

AGAIN, AGAIN_MAX = 10.0, 600.0
"""Seconds for which a copy is put aside after its first failure, and at most."""
Nfs = tuple[str, ...]
Action = Literal["start", "stop"]


@dataclass
class _Copy:
    nfs: Nfs
    state: Literal["unknown", "free", "starting", "ready", "stopping"] = "unknown"
    work: Future[None] | None = None
    failures: int = 0
    again: float = float("-inf")
    reason: str | None = None


@dataclass(frozen=True)
class Done:
    """What the provisioner has done, or why it has not."""

    action: Action
    nfs: Nfs
    fault: str | None = None


@dataclass
class Copies:
    """For one thread; the provisioner works in others. `now` only measures, in seconds."""

    provisioner: Provisioner
    copies: Sequence[Nfs]
    workers: ThreadPoolExecutor
    now: Callable[[], float]
    _copies: list[_Copy] = field(init=False)
    _cancelled: bool = False

    def __post_init__(self) -> None:
        self._copies = [_Copy(nfs) for nfs in self.copies]

    @property
    def busy(self) -> bool:
        return any(copy.work is not None for copy in self._copies)

    @property
    def ready(self) -> list[Nfs]:
        """Those that wait for a chain."""
        return [copy.nfs for copy in self._copies if copy.state == "ready"]

    def coming(self, used: Collection[Nfs]) -> int:
        """How many there will be chains of, and are not yet."""
        return sum(copy.state in ("starting", "ready") and copy.nfs not in used for copy in self._copies)

    def collect(self) -> Iterator[Done]:
        """What is done since it was asked last."""
        for copy in self._copies:
            if copy.work is None or not copy.work.done():
                continue
            work, copy.work = copy.work, None
            action: Action = "start" if copy.state == "starting" else "stop"
            fault = work.exception()
            if fault is None:
                copy.state = "ready" if action == "start" else "free"
                copy.reason = None if action == "start" or self.now() >= copy.again else copy.reason
            else:
                self._put_aside(copy, fault.detail if isinstance(fault, CatenaryError) else repr(fault))
            yield Done(action, copy.nfs, copy.reason if fault else None)

    def refuse(self, nfs: Nfs, reason: str) -> None:
        """No chain could be made of it."""
        for copy in self._copies:
            if copy.nfs == nfs:
                self._put_aside(copy, reason)

    def taken(self, nfs: Nfs) -> None:
        """There is a chain of it now: once that is gone it is to be stopped."""
        for copy in self._copies:
            if copy.nfs == nfs:
                copy.state, copy.failures, copy.reason = "unknown", 0, None

    def tidy(self, used: Collection[Nfs]) -> None:
        """Have those stopped that no chain has and nobody waits for."""
        for copy in self._copies:
            mine = copy.state == "unknown" and copy.work is None and not self._shared(copy, used)
            # The first failure may have left half of it; after more than that, it is no use to hurry.
            if mine and (copy.failures < 2 or self.now() >= copy.again):
                self._begin(copy, "stop")

    def start(self, count: int, used: Collection[Nfs], failed: Collection[Nfs]) -> int:
        """Begin to start so many; returns how many there were. None of which a chain `failed`."""
        begun = 0
        for copy in self._copies:
            usable = copy.state == "free" and copy.work is None and self.now() >= copy.again
            free = not self._shared(copy, used) and copy.nfs not in failed
            if begun < count and usable and free:
                self._begin(copy, "start")
                begun += 1
        return begun

    def cancel(self) -> None:
        """Nobody waits for the provisioner any more."""
        self._cancelled = True

    def views(self, used: Collection[Nfs]) -> list[CopyView]:
        return [
            CopyView(nfs=list(copy.nfs), state=self._shown(copy, used), reason=copy.reason)
            for copy in self._copies
        ]

    def _shown(self, copy: _Copy, used: Collection[Nfs]) -> CopyState:
        if copy.nfs in used:
            return "in use"
        aside = copy.work is None and copy.state in ("unknown", "free") and self.now() < copy.again
        return "put aside" if aside else copy.state

    def _put_aside(self, copy: _Copy, reason: str) -> None:
        copy.state, copy.reason = "unknown", reason
        copy.failures += 1
        copy.again = self.now() + min(AGAIN * 2 ** (copy.failures - 1), AGAIN_MAX)

    def _begin(self, copy: _Copy, action: Action) -> None:
        copy.state = "starting" if action == "start" else "stopping"
        call = getattr(self.provisioner, action)
        copy.work = self.workers.submit(call, copy.nfs, lambda: self._cancelled)

    @staticmethod
    def _shared(copy: _Copy, used: Collection[Nfs]) -> bool:
        """Does a chain have any of its NFs?"""
        return any(nf in other for other in used for nf in copy.nfs)
