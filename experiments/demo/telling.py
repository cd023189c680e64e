"""The story itself: steps at their times under load, and what was noted on the way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from catenary.client import ManagementClient
from catenary.errors import CatenaryError, Unavailable
from catenary.wire import ChainRequest, OperationView
from experiments.demo.figures import Series
from experiments.demo.load import Load, LoadResult
from experiments.demo.meter import Meter
from experiments.demo.screen import Screen
from experiments.demo.story import NF_OF, STORY, Plan, Step
from topologies.testbed import Testbed
from witness.events import CHANGE
from witness.taps import Taps

_TICK_S = 0.1
_SHORT_FROM = 4
"""The phase in which httperf turns from long to short transfers."""


@dataclass(frozen=True)
class Told:
    """`requests`: each step's moment (s, monotonic); `drained_s`: from a removal's request to its end."""

    series: Series
    requests: tuple[float, ...]
    end: float
    drained_s: Mapping[str, float]
    sessions_cut: int
    load: LoadResult


class _Operations:
    """The operations under way; a failed one ends the story."""

    def __init__(self, management: ManagementClient, load: Load) -> None:
        self._management = management
        self._load = load
        self._open: dict[str, tuple[OperationView, int]] = {}
        self.drained_s: dict[str, float] = {}
        self.cut = 0

    def begin(self, step: Step) -> None:
        if step.verb == "add":
            operation = self._management.add_chain(ChainRequest(name=step.chain, nfs=[step.nf]))
        else:
            operation = self._management.remove_chain(step.chain)
        self._open[operation.id] = (operation, self._load.failures())

    def check(self) -> None:
        """See which are over. Raises the reason of one that failed."""
        for key, (before, failures) in list(self._open.items()):
            operation = self._management.operation(key)
            if operation.state == "running":
                continue
            del self._open[key]
            if operation.state == "failed":
                raise CatenaryError(f"{before.kind} {before.chain} failed: {operation.reason}")
            if before.kind == "remove" and operation.finished is not None:
                self.drained_s[before.chain] = operation.finished - operation.created
                self.cut += self._load.failures() - failures

    @property
    def over(self) -> bool:
        return not self._open


def tell(testbed: Testbed, taps: Taps, plan: Plan, screen: Screen) -> Told:
    """Run the whole story; returns when its traffic has ended."""
    first, *others = STORY
    with screen.doing(f"first step: {first}"):
        taps.note(CHANGE, str(first))
        testbed.add_chain([first.nf], name=first.chain)
    requests: list[float] = []
    with (
        Load(testbed, plan.phase_s * len(STORY)) as load,
        Meter(taps, NF_OF, testbed.management) as meter,
        screen.live(time.monotonic()),
    ):
        operations = _Operations(testbed.management, load)
        screen.headline(f"phase 1 of {len(STORY)}: one chain")
        requests.append(time.monotonic())
        _watch(requests[-1] + plan.phase_s, operations, meter, screen)
        for number, step in enumerate(others, 2):
            screen.headline(f"phase {number} of {len(STORY)}: {step}")
            if number == _SHORT_FROM:
                load.next_httperf()
            requests.append(time.monotonic())
            taps.note(CHANGE, str(step))
            operations.begin(step)
            _watch(requests[-1] + plan.phase_s, operations, meter, screen)
        end = time.monotonic()
        screen.headline("the traffic ends")
        result = load.finish()
        _finish(operations, meter, screen)
        series = meter.series()
    return Told(series, tuple(requests), end, operations.drained_s, operations.cut, result)


def _watch(until: float, operations: _Operations, meter: Meter, screen: Screen) -> None:
    """Follow what happens until the moment `until`."""
    while (now := time.monotonic()) < until:
        operations.check()
        screen.show(meter, now)
        time.sleep(min(_TICK_S, max(until - now, 0)))


def _finish(operations: _Operations, meter: Meter, screen: Screen) -> None:
    """Wait for removals that are still draining."""
    deadline = time.monotonic() + 60.0
    while not operations.over:
        operations.check()
        screen.show(meter, time.monotonic())
        if time.monotonic() > deadline:
            raise Unavailable("a removed chain is not drained 60 s after the traffic ended")
        time.sleep(_TICK_S)
