"""Throughput of the testbed with bridges and with load balancers (paper, section IV)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from experiments.baseline import plot
from experiments.baseline.bridges import CaptureBridge, LinuxBridge
from experiments.evaluation import machine, promises, ratios
from experiments.evaluation.carried import Carried
from experiments.evaluation.experiment import Evaluation, Setting
from experiments.evaluation.parameters import Parameters
from experiments.evaluation.play import TIMEOUTS, bring_up
from experiments.evaluation.preflight import TESTBED, Need, command, pf_ring
from experiments.evaluation.promises import Span
from experiments.evaluation.ratios import Ratio
from experiments.evaluation.repeat import Once, Shown
from experiments.peers.balancing import BALANCERS, CHAINS, Balancing, Managed
from topologies.nfs import catalog
from topologies.testbed import Testbed
from topologies.traffic import Iperf
from witness.checker import judge
from witness.places import places_of
from witness.taps import Limits, Taps

Name = Literal["bridge", "capture_bridge", "af_packet", "pf_ring", "ebpf"]


@dataclass(frozen=True)
class Plane:
    """What stands at both ends. `paper`: Mbit/s there."""

    balancing: Callable[[Testbed], Balancing]
    data_plane: str = "ebpf"
    chains: bool = True
    """Does it balance? A bridge leads all through one chain."""
    paper: float | None = None


PLANES: Mapping[Name, Plane] = {
    "bridge": Plane(LinuxBridge, chains=False, paper=900),
    "capture_bridge": Plane(CaptureBridge, chains=False, paper=465),
    "af_packet": Plane(Managed, "af_packet", paper=366),
    "pf_ring": Plane(Managed, "pf_ring", paper=366),
    "ebpf": Plane(Managed),
}
RATIOS = {
    "ebpf_bridge": Ratio("ebpf", "bridge", at_least=0.95, paper=0.41),
    "ebpf_capture_bridge": Ratio("ebpf", "capture_bridge", at_least=0.95, paper=0.79),
    "af_packet_bridge": Ratio("af_packet", "bridge", paper=0.41),
    "af_packet_capture_bridge": Ratio("af_packet", "capture_bridge", paper=0.79),
}


class Sizes(Parameters):
    """`seconds` of iperf for each plane in each run, `parallel` its sessions."""

    planes: tuple[Name, ...] = Field(min_length=1)
    seconds: int = Field(ge=1, le=600)
    parallel: int = Field(ge=1, le=128)


def _shown(chosen: Sizes) -> list[Shown]:
    found = [Shown(plane, "Mbit/s", PLANES[plane].paper, steady=True) for plane in chosen.planes]
    present = {key: it for key, it in RATIOS.items() if {it.above, it.below} <= set(chosen.planes)}
    found += ratios.shown(present, {})
    return [*found, *promises.shown(clients=False)]


def _once(setting: Setting[Sizes]) -> Iterator[Once]:
    """All planes in an order of its own, so that what else the machine does hits all alike."""
    chosen = setting.parameters
    order = list(chosen.planes)
    random.Random(setting.seed).shuffle(order)
    rates: dict[str, float | None] = {}
    kept, details = [], []
    for name in order:
        rate, promised, findings = _measure(PLANES[name], setting)
        rates[name] = rate
        setting.say(f"{name}: {rate:.0f} Mbit/s")
        if PLANES[name].chains:
            kept.append(promised)
            details += findings
        measured = [plane for plane in chosen.planes if plane in rates]
        table = {
            "plane": np.array(measured),
            "mbit": np.array([rates[plane] for plane in measured]),
            "paper_mbit": np.array([PLANES[plane].paper or np.nan for plane in measured]),
        }
        figures = rates | ratios.figures(RATIOS, rates) | promises.of_several(kept)
        yield Once(figures, {"throughput": table}, details[:])


def _measure(plane: Plane, setting: Setting[Sizes]) -> tuple[float, dict[str, float | None], list[str]]:
    """Mbit/s from h1 to h2 with it at both ends and one chain, which is all that a bridge has.

    And what a load balancer with all chains is held to: figures and findings.
    """
    chosen = setting.parameters
    balancing = plane.balancing
    if balancing is Managed:
        balancing = partial(Managed, sabotage=setting.sabotage)
    nf = catalog.named("bridge")
    with (
        bring_up(nf=nf, nf_rate_mbit=None, data_plane=plane.data_plane) as testbed,
        balancing(testbed) as ends,
    ):
        machine.one_packet_a_frame(testbed, ("h1", "h2"))
        setting.facts["offloads"] = machine.offloads(testbed)
        ends.set_chains(CHAINS[:1])
        iperf = partial(Iperf(testbed.hosts["h1"], testbed.hosts["h2"]).run, parallel=chosen.parallel)
        rate = iperf(chosen.seconds).throughput * 8e-6
        if not plane.chains:
            return rate, {}, []
        with Taps(places_of(testbed.network), Limits.of(TIMEOUTS)) as taps:
            ends.set_chains(CHAINS)
            carried = Carried(testbed, BALANCERS)
            begun = time.monotonic()
            iperf(chosen.seconds)
            span = Span(begun, time.monotonic(), tuple(chain.name for chain in CHAINS))
            lost = carried.lost()
            verdict = judge(taps.snapshot({chain.name: (chain.nf,) for chain in CHAINS}))
    return rate, promises.of_verdicts([verdict], [span], lost), promises.findings([verdict])


def _needs(chosen: Sizes) -> Sequence[Need]:
    extra = [pf_ring()] if "pf_ring" in chosen.planes else []
    return (*TESTBED, command("iperf3", "iperf3"), command("cc", "gcc"), *extra)


EVALUATION = Evaluation(
    name="baseline",
    about="Throughput of the testbed: bridges, and load balancers in their place (paper, IV)",
    kind=Sizes,
    shown=_shown,
    once=_once,
    plot=plot.draw,
    needs=_needs,
)

if __name__ == "__main__":
    EVALUATION.main()
