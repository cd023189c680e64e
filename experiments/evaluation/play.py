"""One run on the testbed: chains come and go under httperf and injections (paper, section IV-A)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from catenary.config import ChainConfig
from catenary.errors import Unavailable
from catenary.session import Timeouts
from catenary.tags import TagPair
from catenary.wire import Tags, TimeoutsModel
from experiments.demo.figures import WINDOW_S, Series
from experiments.demo.meter import Meter
from experiments.evaluation import machine
from experiments.evaluation.carried import Carried
from experiments.evaluation.experiment import Setting
from experiments.evaluation.repeat import Table
from experiments.evaluation.sabotage import Sabotage, Saboteur
from topologies.blueprint import Blueprint
from topologies.nfs import catalog
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import FIG4, Testbed
from topologies.traffic import Httperf, HttperfResult, InjectionResult, Injections, WebServer
from witness.checker import judge
from witness.events import CHANGE
from witness.places import places_of
from witness.taps import Limits, Taps
from witness.verdict import Verdict

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
bring_up = partial(Testbed, timeouts=TimeoutsModel(**asdict(TIMEOUTS)), sessions=1 << 17)
"""The testbed of all experiments. Daemons look over their tables each second, on CPUs that all here share."""
PAGE, SMALL_PAGE = "page", "1k"
_STEP_S = 0.25
_ALERTS_S = 10.0
_DETECTORS = ("suricata", "snort", "zeek")


@dataclass(frozen=True)
class Site:
    """A network, and by segment the NFs that its chains may have: each chain has one."""

    blueprint: Blueprint
    nfs: Mapping[str, tuple[str, ...]]

    def segment(self, nf: str) -> str:
        return next(segment for segment, nfs in self.nfs.items() if nf in nfs)

    def tags(self, nf: str) -> TagPair:
        """As in the paper: (2, 3), (4, 5), and so on."""
        number = 1 + [name for nfs in self.nfs.values() for name in nfs].index(nf)
        return TagPair(2 * number, 2 * number + 1)


TESTBED = Site(FIG4, {"main": tuple(FIG4.nfs)})
NFS = TESTBED.nfs["main"]


@dataclass(frozen=True)
class NfKind:
    """What each NF is, by its name in `topologies.nfs.catalog`, and what it carries."""

    name: str
    capacity_mbit: float

    @property
    def detects(self) -> bool:
        return catalog.resolved(self.name).startswith(_DETECTORS)

    def __str__(self) -> str:
        return f"{catalog.resolved(self.name)} of {self.capacity_mbit:g} Mbit/s"


@dataclass(frozen=True)
class Step:
    """From `at` (s from the begin) on, the chains of these NFs take new sessions, and no others do: those of
    `cordoned` NFs are there and take none."""

    at: float
    nfs: tuple[str, ...]
    cordoned: tuple[str, ...] = ()


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

    @property
    def begun_a_second(self) -> float:
        """Sessions of both; each injection is one."""
        return self.rate + (self.batch / self.every if self.injections else 0.0)

    def __str__(self) -> str:
        sessions = f"{self.sessions} sessions of {self.size / 1000:.0f} kB at {self.rate:g}/s"
        injections = f"{self.injections} injections, {self.batch} every {self.every:.2g} s"
        return ", ".join([sessions] * bool(self.sessions) + [injections] * bool(self.injections))


@dataclass(frozen=True)
class Seen:
    """What came through the chains of one segment, and alerts by chain. Times as in `Played`."""

    series: Series
    verdict: Verdict
    alerts: Mapping[str, int]


@dataclass(frozen=True)
class Played:
    """What was seen, by segment. `moments` of the steps and `end` are seconds of one clock (monotonic).

    `browsed` and `injections` are what clients say they did of what was `offered`, if any was. `missed` are
    what `missed` says of these and the alerts; 0 where the NFs raise none. `lost`: `Carried.lost`.
    """

    seen: Mapping[str, Seen]
    moments: tuple[float, ...]
    end: float
    offered: Offered
    browsed: HttperfResult | None
    injections: InjectionResult | None
    missed: int
    lost: float

    @property
    def series(self) -> Series:
        """Of the first segment: most networks have no other."""
        return next(iter(self.seen.values())).series


def chain_of(nf: str) -> str:
    """A chain is called after its NF."""
    return f"chain-{nf}"


class _Watched:
    """One segment: its taps and its meter, from entering until leaving."""

    def __init__(self, testbed: Testbed, site: Site, segment: str) -> None:
        self._testbed = testbed
        self._chains = {chain_of(nf): nf for nf in site.nfs[segment]}
        places = places_of(testbed.network, segment, site.nfs[segment])
        self.taps = Taps(places, Limits.of(TIMEOUTS))
        self._meter = Meter(self.taps, self._chains, testbed.management)

    def enter(self, undo: ExitStack) -> None:
        undo.enter_context(self.taps)
        undo.enter_context(self._meter)

    def recorded(self) -> tuple[Series, Verdict]:
        recording = self.taps.snapshot({chain: (nf,) for chain, nf in self._chains.items()})
        return self._meter.series(), judge(recording)

    def alerts(self) -> Mapping[str, int]:
        return {chain: len(self._testbed.nfs[nf].alerts()) for chain, nf in self._chains.items()}


class Chains:
    """Which chains there are, by one request for each change however much it changes."""

    def __init__(self, testbed: Testbed, site: Site, sabotage: Sabotage) -> None:
        self._management = testbed.management
        self._site = site
        self._sabotage = sabotage
        self._saboteurs = {
            name: Saboteur(sabotage, testbed.hosts[segment.slave], f"{segment.slave}-inner")
            for name, segment in site.blueprint.segments.items()
        }

    def become(self, nfs: Sequence[str], *, wait: bool, cordoned: Sequence[str] = ()) -> None:
        """Raises the reason of a change that fails; with `wait` it returns when the change is made."""
        chains = {}
        for segment, own in self._site.nfs.items():
            active, others = ([nf for nf in which if nf in own] for which in (nfs, cordoned))
            takers = self._sabotage.takers(active, others)
            for nf in (*active, *others):
                chains[chain_of(nf)] = self._config(nf, segment, cordoned=nf not in takers)
        operation = self._management.apply(self._management.config().model_copy(update={"chains": chains}))
        for segment, saboteur in self._saboteurs.items():
            present = [nf for nf in (*nfs, *cordoned) if self._site.segment(nf) == segment]
            saboteur.chains([self._site.tags(nf) for nf in present])
        if wait and operation is not None:
            done = self._management.wait(operation, PATIENCE_S, poll=0.02)
            if done.state == "failed":
                raise Unavailable(f"chains {', '.join(chains)} could not be made: {done.reason}")

    def _config(self, nf: str, segment: str, *, cordoned: bool) -> ChainConfig:
        return ChainConfig(segment=segment, nfs=[nf], tags=Tags.of(self._site.tags(nf)), cordoned=cordoned)


def play(
    schedule: Schedule, offered: Offered, nfs: NfKind, setting: Setting[Any], site: Site = TESTBED
) -> Played:
    """Build the network, run it all, judge it, take it down. Needs `namespaces.isolate()` before."""
    with ExitStack() as undo:
        testbed = undo.enter_context(
            bring_up(
                blueprint=site.blueprint,
                nf=catalog.named(nfs.name),
                nf_rate_mbit=nfs.capacity_mbit,
            )
        )
        setting.facts["offloads"] = machine.offloads(testbed)
        watched = {segment: _Watched(testbed, site, segment) for segment in site.nfs}
        chains = Chains(testbed, site, setting.sabotage)
        first, *others = schedule.steps
        chains.become(first.nfs, cordoned=first.cordoned, wait=True)
        for each in watched.values():
            each.enter(undo)
        web = undo.enter_context(WebServer(testbed.hosts["h2"], files={PAGE: offered.size}))
        carried = Carried(testbed, site.blueprint.balancers)
        begun = time.monotonic()
        httperf = _httperf(testbed, offered)
        if offered.sessions:
            undo.enter_context(httperf)
        injections = undo.enter_context(_injections(testbed, web, offered, setting.seed))
        moments = [begun]
        for step in others:
            _wait(begun + step.at)
            moments.append(time.monotonic())
            for each in watched.values():
                each.taps.note(CHANGE, f"chains of {', '.join(step.nfs)}")
            chains.become(step.nfs, cordoned=step.cordoned, wait=False)
            setting.say(f"{step.at:5.1f} s: new sessions go to {', '.join(step.nfs)}")
        _wait(begun + schedule.end)
        end, lost = time.monotonic(), carried.lost()
        recorded = {segment: each.recorded() for segment, each in watched.items()}
        # After that: it ends what is open, which makes room for the injections that are.
        browsed = httperf.stop() if offered.sessions else None
        told = injections.finish() if offered.injections else None
        if told is not None and nfs.detects:
            wait_for_alerts(testbed, told.answered)
        seen = {segment: Seen(*recorded[segment], each.alerts()) for segment, each in watched.items()}
        for each_seen in seen.values():
            setting.say(each_seen.verdict.headline)
        alerts = [sum(each.alerts.values()) for each in seen.values()]
        unseen = missed(told, alerts) if told is not None and nfs.detects else 0
        return Played(seen, tuple(moments), end, offered, browsed, told, unseen, lost)


def missed(told: InjectionResult, alerts: Iterable[int]) -> int:
    """Each segment's NFs must tell of each injection that was answered, and of none twice.

    Of one that was sent and had no answer they may tell, too: `alerts` of a segment are between the two.
    """
    return sum(max(told.answered - count, count - told.sent, 0) for count in alerts)


def wait_for_alerts(testbed: Testbed, count: int) -> None:
    """Until its logs have as many: a detector writes them a little later. What is missing then is missed."""
    with suppress(Unavailable):
        wait_until(
            lambda: sum(len(nf.alerts()) for nf in testbed.nfs.values()) >= count,
            "alerts",
            _ALERTS_S,
            interval=0.2,
        )


def _httperf(testbed: Testbed, offered: Offered) -> Httperf:
    return Httperf(
        testbed.hosts["h1"],
        testbed.hosts["h2"].address(),
        PAGE,
        name="httperf",
        rate=offered.rate,
        connections=offered.sessions,
        timeout=10 * PATIENCE_S,
        background=True,
    )


def _injections(testbed: Testbed, web: WebServer, offered: Offered, seed: int) -> Injections:
    return Injections(
        testbed.hosts["h3"],
        web.url(SMALL_PAGE),
        name="injections",
        batch=offered.batch,
        every=offered.every,
        total=offered.injections,
        seed=seed,
    )


def series_table(played: Played) -> Table:
    """That of all its segments."""
    return throughput_table([seen.series for seen in played.seen.values()], played.moments[0], played.end)


def throughput_table(several: Sequence[Series], begun: float, end: float) -> Table:
    """Mbit/s of each chain in the 1 s window that ends at each moment, s from the begin."""
    moments = np.arange(begun + WINDOW_S, end, _STEP_S)
    table: dict[str, Any] = {"time_s": moments - begun}
    for series in several:
        table |= zip(series.chains, series.throughput(moments).T, strict=True)
    return table


def _wait(until: float) -> None:
    """Until that moment."""
    time.sleep(max(until - time.monotonic(), 0))
