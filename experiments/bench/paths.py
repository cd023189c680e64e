"""Throughput and packet rate of whole paths, client - load balancers - server, beside their peers."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping

from catenary.errors import Unavailable
from experiments.bench.net import ADDRESS, CLIENT, MAC, SERVER, Network, built
from experiments.bench.peers import Peer, Setting, peers
from experiments.bench.plan import Plan, Result, figure, quotient
from experiments.part import Say
from experiments.summary import Claim, Figure
from topologies.hosts import Host
from topologies.traffic import Iperf

METRICS = {"tcp1": "Gbit/s", "tcp4": "Gbit/s", "mpps64": "Mpps"}
SESSIONS = 256
_BOUNDS = (
    ("ebpf_pair", "tc_redirect", 0.9),
    ("ebpf_pair", "bridge", 1.0),
    ("ebpf_pair", "ovs_multipath", 10.0),
    ("ebpf_pair", "ovs_learn", 10.0),
    ("af_packet", "bridge", 0.5),
)
"""TCP of the first over that of the second, at least."""
_WARM_UP_S = 0.3
"""Until Open vSwitch has taken up all sessions."""


def measure(plan: Plan, say: Say) -> Result:
    """All peers in each round, so that what else the machine does hits all of them alike."""
    runs: dict[str, list[float]] = defaultdict(list)
    everyone = peers()
    present = [peer for peer in everyone if peer.settings]
    for peer in everyone:
        if not peer.settings:
            say(f"{peer.title} is left out: `catenary lb run` offers no such data plane")
    best = {peer.key: _best_settings(peer, plan, say) for peer in present}
    for number in range(plan.rounds):
        for peer in present:
            found = _run(best[peer.key], plan.seconds)
            for metric, value in found.items():
                runs[f"{peer.key}_{metric}"].append(value)
            words = ", ".join(f"{metric} {value:.2f} {METRICS[metric]}" for metric, value in found.items())
            say(f"round {number + 1}, {peer.title}: {words}")
    figures = {
        f"{peer.key}_{metric}": figure(runs[f"{peer.key}_{metric}"], unit, 3)
        for metric, unit in METRICS.items()
        for peer in everyone
    }
    settings = {
        f"{peer.key}_{metric}": setting.command
        for peer in present
        for metric, setting in best[peer.key].items()
    }
    ratios, claims = _asked(figures)
    return Result(figures, ratios, claims, runs, settings)


def _asked(figures: Mapping[str, Figure]) -> tuple[dict[str, Figure], tuple[Claim, ...]]:
    ratios: dict[str, Figure] = {}
    claims: list[Claim] = []
    for metric in ("tcp1", "tcp4"):
        for above, below, least in _BOUNDS:
            key = f"{above} / {below}, {metric}"
            ratios[key] = quotient(figures[f"{above}_{metric}"], figures[f"{below}_{metric}"])
            claims.append(Claim(key, at_least=least))
    return ratios, tuple(claims)


def _best_settings(peer: Peer, plan: Plan, say: Say) -> dict[str, Setting]:
    """For each metric, the setting in which a short run was fastest."""
    if not plan.probe_seconds or len(peer.settings) == 1:
        return dict.fromkeys(METRICS, peer.settings[0])
    values = [_run(dict.fromkeys(METRICS, setting), plan.probe_seconds) for setting in peer.settings]
    best = {}
    for metric in METRICS:
        at = max(range(len(values)), key=lambda number: values[number][metric])
        best[metric] = peer.settings[at]
        tried = " ".join(f"{value[metric]:.2f}" for value in values)
        say(f"{peer.title}, {metric}: its settings reached {tried} {METRICS[metric]}; taken: the {_nth(at)}")
    for setting in dict.fromkeys(best.values()):
        say(f"{peer.title}, the {_nth(peer.settings.index(setting))} setting:\n{setting.command}")
    return best


def _nth(index: int) -> str:
    return ("first", "second", "third", "fourth")[index]


def _run(settings: Mapping[str, Setting], seconds: int) -> dict[str, float]:
    """Every metric once, each in its setting; a network serves all metrics that share one."""
    found = {}
    for setting in dict.fromkeys(settings.values()):
        with Network() as network, setting.open(network):
            for metric in (metric for metric in METRICS if settings[metric] is setting):
                found[metric] = _MEASURES[metric](network, seconds)
    return {metric: found[metric] for metric in METRICS}


def _tcp(network: Network, seconds: int, streams: int) -> float:
    iperf = Iperf(network.client, network.server)
    return iperf.run(seconds, parallel=streams).throughput * 8e-9


def _frames(network: Network, seconds: int) -> float:
    """Millions a second that come through, of one sender with 64-byte frames of `SESSIONS` sessions."""
    network.drop_all(network.server)
    sender = blast(network.client, CLIENT, SERVER, sessions=SESSIONS, seconds=seconds + 2 * _WARM_UP_S)
    time.sleep(_WARM_UP_S)
    begun, before = time.monotonic(), network.received(network.server)
    time.sleep(seconds)
    after, ended = network.received(network.server), time.monotonic()
    if sender.wait() != 0:
        raise Unavailable("the sender of frames has failed: see above")
    return (after - before) / (ended - begun) / 1e6


def blast(
    host: Host, source: str, target: str, *, sessions: int, seconds: float, rate: float = 0.0
) -> subprocess.Popen[str]:
    """Start blast.c at a host."""
    words = ("eth0", MAC[source], MAC[target], ADDRESS[source], ADDRESS[target])
    numbers = (64, sessions, rate, seconds)
    return host.popen(
        [str(built("blast")), *words, *map(str, numbers)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )


_MEASURES = {
    "tcp1": lambda network, seconds: _tcp(network, seconds, 1),
    "tcp4": lambda network, seconds: _tcp(network, seconds, 4),
    "mpps64": _frames,
}
