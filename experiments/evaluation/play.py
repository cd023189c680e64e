"""One run on the testbed: chains come and go under httperf and injections (paper, section IV-A)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from catenary.config import ChainConfig
from catenary.errors import Unavailable
from catenary.session import Timeouts
from catenary.tags import TagPair
from catenary.wire import Tags, TimeoutsModel
from experiments.demo.figures import Series
from experiments.demo.meter import Meter
from experiments.evaluation.experiment import Setting
from experiments.evaluation.repeat import Table
from experiments.evaluation.sabotage import Sabotage, Saboteur
from topologies.patience import PATIENCE_S
from topologies.testbed import FIG4, Testbed
from topologies.traffic import Httperf, InjectionResult, Injections, WebServer
from witness.checker import judge
from witness.events import CHANGE
from witness.places import places_of
from witness.taps import Limits, Taps
from witness.verdict import Verdict

NFS = tuple(FIG4.nfs)
TIMEOUTS = Timeouts(
    tcp_opening=8.0,
    tcp_established=60.0,  # longer than any gap of a session that waits for its share of one NF
    tcp_closing=2.0,
    udp=2.0,
    other=2.0,
    neighbour=2.0,
    lease=1.25,
    transit=1.0,
)
PAGE, SMALL_PAGE = "page", "1k"
_STEP_S = 0.25


@dataclass(frozen=True)
class Step:
    """From `at` (s from the begin) on, the chains of these NFs take new sessions, and no others do."""

    at: float
    nfs: tuple[str, ...]


@dataclass(frozen=True)
class Schedule:
    """Steps in order, the first at 0; all of it lasts `end` s."""

    steps: tuple[Step, ...]
    end: float


@dataclass(frozen=True)
class Offered:
    """h1: `sessions` of `size` bytes, `rate` begun a second. h3: injections, `batch` every `every` s."""

    rate: float
    sessions: int
    size: int
    injections: int = 0
    batch: int = 1
    every: float = 1.0

    def __str__(self) -> str:
        injected = f", {self.injections} injections" if self.injections else ""
        return f"{self.sessions} sessions of {self.size / 1000:.0f} kB at {self.rate:g}/s{injected}"


@dataclass(frozen=True)
class Played:
    """What was seen. `moments` of the steps and `end` are seconds of the clock of `series` (monotonic)."""

    series: Series
    moments: tuple[float, ...]
    end: float
    verdict: Verdict
    injections: InjectionResult | None


def chain_of(nf: str) -> str:
    """Each chain has one NF, and bears its number."""
    return f"chain-{nf.removeprefix('n')}"


def tags_of(nf: str) -> TagPair:
    """As in the paper: (2, 3), (4, 5), and so on."""
    number = int(nf.removeprefix("n"))
    return TagPair(2 * number, 2 * number + 1)


class _Chains:
    """Which chains there are, by one request for each change however much it changes."""

    def __init__(self, testbed: Testbed, sabotage: Sabotage) -> None:
        self._testbed = testbed
        self._sabotage = sabotage
        self._saboteur = Saboteur(sabotage, testbed.interface("l2", "inner"))

    def become(self, nfs: Sequence[str], *, wait: bool) -> None:
        """Raises the reason of a change that fails; with `wait` it returns when the change is made."""
        management = self._testbed.management
        chains = {chain_of(nf): self._config(nf, first=nf == nfs[0]) for nf in nfs}
        operation = management.apply(management.config().model_copy(update={"chains": chains}))
        self._saboteur.chains([tags_of(nf) for nf in nfs])
        if wait and operation is not None:
            done = management.wait(operation, PATIENCE_S, poll=0.02)
            if done.state == "failed":
                raise Unavailable(f"chains {', '.join(chains)} could not be made: {done.reason}")

    def _config(self, nf: str, *, first: bool) -> ChainConfig:
        cordoned = self._sabotage is Sabotage.ONE_CHAIN and not first
        return ChainConfig(nfs=[nf], tags=Tags.of(tags_of(nf)), cordoned=cordoned)


def play(schedule: Schedule, offered: Offered, capacity_mbit: float, setting: Setting[Any]) -> Played:
    """Build the testbed, run it all, judge it, take it down. Needs `namespaces.isolate()` before."""
    timeouts = TimeoutsModel(**asdict(TIMEOUTS))
    with ExitStack() as undo:
        testbed = undo.enter_context(Testbed(timeouts=timeouts, nf_rate_mbit=capacity_mbit))
        taps = undo.enter_context(Taps(places_of(testbed.network), Limits.of(TIMEOUTS)))
        chains = _Chains(testbed, setting.sabotage)
        first, *others = schedule.steps
        chains.become(first.nfs, wait=True)
        measured = {chain_of(nf): nf for nf in NFS}
        web = undo.enter_context(WebServer(testbed.hosts["h2"], files={PAGE: offered.size}))
        meter = undo.enter_context(Meter(taps, measured, testbed.management))
        begun = time.monotonic()
        injections = undo.enter_context(_load(undo, testbed, web, offered, setting.seed))
        moments = [begun]
        for step in others:
            _wait(begun + step.at)
            taps.note(CHANGE, f"chains of {', '.join(step.nfs)}")
            moments.append(time.monotonic())
            chains.become(step.nfs, wait=False)
            setting.say(f"{step.at:5.1f} s: new sessions go to {', '.join(step.nfs)}")
        _wait(begun + schedule.end)
        end = time.monotonic()
        told = injections.finish() if offered.injections else None
        verdict = judge(taps.snapshot({chain: (nf,) for chain, nf in measured.items()}))
        setting.say(verdict.headline)
        return Played(meter.series(), tuple(moments), end, verdict, told)


def _load(undo: ExitStack, testbed: Testbed, web: WebServer, offered: Offered, seed: int) -> Injections:
    """Begin httperf, and make the injections ready, which begin when they are entered."""
    h1, h2, h3 = (testbed.hosts[name] for name in ("h1", "h2", "h3"))
    httperf = Httperf(
        h1,
        h2.address(),
        PAGE,
        name="httperf",
        rate=offered.rate,
        connections=offered.sessions,
        timeout=10 * PATIENCE_S,
        background=True,
    )
    undo.enter_context(httperf)
    return Injections(
        h3,
        web.url(SMALL_PAGE),
        name="injections",
        batch=offered.batch,
        every=offered.every,
        total=offered.injections,
        seed=seed,
    )


def series_table(played: Played) -> Table:
    """Mbit/s of each chain in the 1 s window that ends at each moment, s from the begin."""
    begun = played.moments[0]
    moments = np.arange(begun + 1.0, played.end, _STEP_S)
    rates = played.series.throughput(moments)
    return {"time_s": moments - begun, **dict(zip(played.series.chains, rates.T, strict=True))}


def _wait(until: float) -> None:
    """Until that moment."""
    time.sleep(max(until - time.monotonic(), 0))
