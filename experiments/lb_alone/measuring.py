"""What load balancers do by themselves, whichever they are: their NFs are bridges without a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments.demo.figures import rebalanced_after
from experiments.demo.meter import Meter
from experiments.evaluation import machine
from experiments.evaluation.carried import Carried
from experiments.evaluation.play import TESTBED, TIMEOUTS, bring_up
from experiments.evaluation.promises import Span
from experiments.part import Say
from experiments.peers.balancing import BALANCERS, CHAINS, Balancing, Chain
from topologies.nfs.bridge import Bridge
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import Transfers, WebServer
from witness.checker import judge
from witness.events import CHANGE
from witness.places import places_of
from witness.taps import Limits, Taps
from witness.verdict import Verdict

SHORT, LONG = "1k", "5m"
PORTS = 64
"""The server's. With one a client uses its keys again within seconds, and these go on in their chains."""


BY_HASH = replace(
    TESTBED.blueprint,
    segments={
        name: segment.model_copy(update={"policy": "maglev"})
        for name, segment in TESTBED.blueprint.segments.items()
    },
)
"""As Algorithm 1 places, so that the two differ in what follows only."""


@dataclass(frozen=True)
class Offered:
    """`seconds` of each load. `short` sessions of 1 kB at a time; each number of `long` ones of 5 MB."""

    seconds: float
    short: int
    long: tuple[int, ...]


@dataclass(frozen=True)
class Alone:
    """What was found of one kind. Sessions a second by number of chains, Mbit/s by number of sessions;
    seconds until all active chains carry the same within 10 % after a chain came, and after one went."""

    sessions: dict[int, float]
    throughput: dict[int, float]
    add_s: float | None
    remove_s: float | None
    verdict: Verdict
    spans: tuple[Span, ...]
    failed: int
    lost: float


def measure(
    balancing: Callable[[Testbed], Balancing], offered: Offered, say: Say, facts: dict[str, Any]
) -> Alone:
    """In a testbed of its own; `facts` takes its offloads. Needs `namespaces.isolate()` before."""
    with ExitStack() as undo:
        testbed = undo.enter_context(bring_up(blueprint=BY_HASH, nf=Bridge, nf_rate_mbit=None))
        ends = undo.enter_context(balancing(testbed))
        taps = undo.enter_context(Taps(places_of(testbed.network), Limits.of(TIMEOUTS)))
        meter = undo.enter_context(Meter(taps, {chain.name: chain.nf for chain in CHAINS}))
        web = undo.enter_context(WebServer(testbed.hosts["h2"], ports=PORTS))
        machine.one_packet_a_frame(testbed, ("h1", "h2"))
        facts["offloads"] = machine.offloads(testbed)
        carried = Carried(testbed, BALANCERS)
        loads = _Loads(testbed, web, offered)
        spans: list[Span] = []
        sessions = {}
        add_s = None
        for number in range(1, len(CHAINS) + 1):  # each comes once: tags that were in use rest for a while
            chains = CHAINS[:number]
            if chains == CHAINS:
                add_s = _balance(ends, taps, meter, loads, chains)
            else:
                ends.set_chains(chains)
            sessions[number] = loads.short(chains, spans)
            say(f"{number} chains: {sessions[number]:.0f} sessions/s")
        throughput = {parallel: loads.long(parallel) for parallel in offered.long}
        for parallel, rate in throughput.items():
            say(f"{parallel} sessions at a time: {rate:.0f} Mbit/s")
        remove_s = _balance(ends, taps, meter, loads, CHAINS[:-1], CHAINS[-1:])
        say(f"balanced {_told(add_s)} after an add, {_told(remove_s)} after a remove")
        lost = carried.lost()
        verdict = judge(taps.snapshot({chain.name: (chain.nf,) for chain in CHAINS}))
        say(verdict.headline)
    return Alone(sessions, throughput, add_s, remove_s, verdict, tuple(spans), loads.failed, lost)


class _Loads:
    """The clients of h1, one load after the other."""

    def __init__(self, testbed: Testbed, web: WebServer, offered: Offered) -> None:
        self._client = testbed.hosts["h1"]
        self._web = web
        self._offered = offered
        self._number = 0
        self.failed = 0

    def begin(self, page: str, parallel: int) -> Transfers:
        self._number += 1
        return Transfers(
            self._client,
            self._web.urls(page),
            name=f"load-{self._number}",
            parallel=parallel,
            timeout=PATIENCE_S,
        )

    def short(self, chains: Sequence[Chain], spans: list[Span]) -> float:
        """Sessions a second."""
        begun = time.monotonic()
        with self.begin(SHORT, self._offered.short) as load:
            time.sleep(self._offered.seconds)
            spans.append(Span(begun, time.monotonic(), tuple(chain.name for chain in chains)))
            result = load.stop()
        self.failed += result.failures
        return result.requests / (result.ended - result.started)

    def long(self, parallel: int) -> float:
        """Mbit/s of payload."""
        with self.begin(LONG, parallel) as load:
            time.sleep(self._offered.seconds)
            result = load.stop()
        self.failed += result.failures
        whole = np.array(result.per_second[1:-1] or result.per_second)
        return float(np.mean(whole)) * 8e-6

    @property
    def steady(self) -> Transfers:
        """What goes on while chains come and go."""
        return self.begin(SHORT, self._offered.short)

    @property
    def phase_s(self) -> float:
        return self._offered.seconds


def _balance(
    ends: Balancing,
    taps: Taps,
    meter: Meter,
    loads: _Loads,
    chains: Sequence[Chain],
    cooling: Sequence[Chain] = (),
) -> float | None:
    """Change to these under short sessions: seconds until they carry the same; None if they never do."""
    with loads.steady as load:
        time.sleep(loads.phase_s)
        changed = time.monotonic()
        taps.note(CHANGE, f"{len(chains)} chains")
        ends.set_chains(chains)
        time.sleep(2 * loads.phase_s)
        end = time.monotonic()
        loads.failed += load.stop().failures
    names, gone = ([chain.name for chain in which] for which in (chains, cooling))
    return rebalanced_after(meter.series(), names, changed, end, gone)


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"
