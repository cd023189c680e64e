"""One way of balancing in one run: a testbed of its own, the same steps, load and judge for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from experiments.demo.figures import Series
from experiments.demo.load import Load, LoadResult
from experiments.demo.meter import Meter
from experiments.evaluation import machine
from experiments.evaluation.carried import Carried
from experiments.evaluation.play import TIMEOUTS, NfKind, bring_up, wait_for_alerts
from experiments.part import Say
from experiments.peers.balancing import BALANCERS, CHAINS, Balancing
from experiments.peers.outcome import STEPS, Outcome
from topologies.nfs import catalog
from topologies.testbed import Testbed
from topologies.traffic import Transfers
from topologies.traffic.injections import ATTACKS
from topologies.traffic.transfers import TransferResult
from witness.checker import judge
from witness.events import CHANGE
from witness.places import places_of
from witness.taps import Limits, Taps
from witness.verdict import Verdict

_SHORT_FROM = 3
"""The step at which httperf turns from long to short transfers."""


@dataclass(frozen=True)
class Offered:
    """The load. So many `parallel` sessions at a time keep the chains busy, `short` ones begin often, on
    either side; `late` ones are open for `wait_s` before they ask, and what they ask is an attack. A client
    gives up a session after `timeout_s`, and does nothing else meanwhile."""

    parallel: int
    short: int
    late: int
    wait_s: float
    timeout_s: float


def measure(
    balancing: Callable[[Testbed], Balancing],
    offered: Offered,
    *,
    nfs: NfKind,
    phase_s: float,
    say: Say,
    facts: dict[str, Any],
) -> Outcome:
    """`phase_s` from a step to the next; `facts` takes the offloads. Needs `namespaces.isolate()` before."""
    with (
        bring_up(nf=catalog.named(nfs.name), nf_rate_mbit=nfs.capacity_mbit) as testbed,
        balancing(testbed) as chains,
    ):
        facts["offloads"] = machine.offloads(testbed)
        return watch(testbed, chains, offered, detects=nfs.detects, phase_s=phase_s, say=say)


def watch(
    testbed: Testbed, chains: Balancing, offered: Offered, *, detects: bool, phase_s: float, say: Say
) -> Outcome:
    """All steps under load, and what came of them; `detects`: the NFs tell of attacks."""
    chains.set_chains(STEPS[0].chains)
    carried = Carried(testbed, BALANCERS)
    seconds = phase_s * len(STEPS)
    with (
        Taps(places_of(testbed.network), Limits.of(TIMEOUTS)) as taps,
        Load(
            testbed, seconds, parallel=offered.parallel, short=offered.short, timeout=offered.timeout_s
        ) as load,
        _attackers(testbed, offered) as attackers,
        Meter(taps, {chain.name: chain.nf for chain in CHAINS}) as meter,
    ):
        moments, done = _step(chains, taps, load, phase_s, say)
        attacks, clients = attackers.stop(), load.finish()
        series, lost = meter.series(), carried.lost()
        recording = taps.snapshot({chain.name: (chain.nf,) for chain in CHAINS})
    missed = _missed(testbed, attacks.requests) if detects else None
    return _outcome(series, moments, done, judge(recording), clients, attacks, lost, missed)


def _missed(testbed: Testbed, attacks: int) -> int:
    """Attacks of which no NF tells."""
    wait_for_alerts(testbed, attacks)
    return max(attacks - sum(len(nf.alerts()) for nf in testbed.nfs.values()), 0)


def _attackers(testbed: Testbed, offered: Offered) -> Transfers:
    h2 = testbed.hosts["h2"]
    return Transfers(
        testbed.hosts["h3"],
        [f"http://{h2.address()}/1k?id={quote(attack, safe='')}" for attack in ATTACKS],
        name="attackers",
        parallel=offered.late,
        wait=offered.wait_s,
        timeout=offered.wait_s + offered.timeout_s,
    )


def _step(
    chains: Balancing, taps: Taps, load: Load, phase_s: float, say: Say
) -> tuple[list[float], list[float]]:
    """Take all steps: their moments and that of the end, and when each of them was done."""
    moments = [time.monotonic()]
    done = moments[:]
    time.sleep(phase_s)
    for number, step in enumerate(STEPS[1:], start=1):
        moments.append(time.monotonic())
        taps.note(CHANGE, step.text)
        if number == _SHORT_FROM:
            load.next_httperf()
        chains.set_chains(step.chains)
        done.append(time.monotonic())
        say(f"{step.text}: done after {1000 * (done[-1] - moments[-1]):.0f} ms")
        time.sleep(max(moments[-1] + phase_s - time.monotonic(), 0))
    return [*moments, time.monotonic()], done


def _outcome(
    series: Series,
    moments: Sequence[float],
    done: Sequence[float],
    verdict: Verdict,
    clients: LoadResult,
    attacks: TransferResult,
    lost: float,
    missed: int | None,
) -> Outcome:
    spans = [(_ns(since), _ns(until)) for since, until in zip(done, moments[1:], strict=True)]
    shares = [
        len(step.chains) * min(verdict.shares(*span, among=[chain.name for chain in step.chains]).values())
        for step, span in zip(STEPS, spans, strict=True)
    ]
    findings = map(str, (*verdict.violations[:2], *verdict.bypassed[:1]))
    return Outcome(
        series=series,
        moments=tuple(moments),
        sessions=verdict.sessions,
        broken=len(verdict.violations) + len(verdict.bypassed),
        across=tuple(verdict.alive_across(_ns(moment)) for moment in moments[1:-1]),
        requests=clients.sessions + attacks.sessions,
        failed=clients.failed + attacks.failures,
        witness_dropped=verdict.witness_dropped,
        lost=100 * lost,
        least_share=min(shares),
        attacks=attacks.requests,
        missed=missed,
        reasons=(verdict.headline, *findings, *clients.reasons),
    )


def _ns(moment: float) -> int:
    return int(moment * 1e9)
