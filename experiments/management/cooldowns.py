"""Predicted against real cool-downs: a real pair, and real sessions of random lifetimes.

Many chains share the sessions. All but one are removed at once: each cools down by itself, with sessions of
its own. Before that the plan says how long it would take: its p50 is compared with what the journal tells.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from catenary import plans
from catenary.client import ManagementClient
from catenary.config import ChainConfig, ServiceConfig
from catenary.errors import Unavailable
from catenary.plans import SegmentPlan
from catenary.wire import HistoryEntry, TimeoutsModel
from experiments.management.plan import Plan
from experiments.management.sessions import MEAN_S
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.services import wait_until
from topologies.testbed import Testbed
from topologies.wide import wide

CLAIMS = (Claim("cooldown_prediction_ratio", at_least=1 / 1.5, at_most=1.5),)
_PORT = 7000
_LIVE_EACH = 10
"""Sessions of each chain that live at a time, about."""
_WARM = 10 * MEAN_S
"""Seconds until sessions come and go evenly, and enough of them have ended to learn from."""
_SHORT = TimeoutsModel(
    tcp_opening=1, tcp_established=5, tcp_closing=0.5, udp=1, other=1, neighbour=1, lease=0.25, transit=0.1
)


@dataclass(frozen=True)
class CoolDown:
    """Of one chain, both in seconds from its removal; `sessions` lived then."""

    chain: str
    sessions: int
    predicted: float
    real: float

    @property
    def ratio(self) -> float:
        """Above 1: it took longer than predicted."""
        return self.real / self.predicted

    def __str__(self) -> str:
        return f"{self.chain}: {self.sessions} sessions, p50 {self.predicted:.1f} s, real {self.real:.1f} s"


def measure(plan: Plan, say: Say) -> Part:
    """`cooldown_prediction_ratio`: the median of real over predicted."""
    found: list[CoolDown] = []
    with Testbed(blueprint=wide(plan.crowd + 1), timeouts=_SHORT) as testbed:
        chains = {nf: ChainConfig(nfs=[nf], segment="main") for nf in testbed.blueprint.wires}
        everything = testbed.network.model_copy(update={"chains": chains})
        stays = next(iter(chains))
        little = everything.model_copy(update={"chains": {stays: chains[stays]}})
        rate = _LIVE_EACH * len(chains) / MEAN_S
        with sessions(testbed.hosts["h1"], testbed.hosts["h2"], rate):
            for number in range(plan.rounds):
                _apply(testbed.management, everything)
                time.sleep(_WARM)
                round_ = _cool(testbed.management, little)
                found += round_
                say(f"round {number + 1}: {'; '.join(map(str, round_))}")
    ratios = [cooldown.ratio for cooldown in found]
    unit = f"real over predicted p50, median of {len(ratios)} (min {min(ratios):.2f}, max {max(ratios):.2f})"
    figures = {"cooldown_prediction_ratio": Figure(round(median(ratios), 3), unit)}
    return Part(figures, CLAIMS, [str(cooldown) for cooldown in found])


@contextmanager
def sessions(client: Host, server: Host, rate: float) -> Iterator[None]:
    """They come and go as long as the context lasts."""
    program = [sys.executable, "-m", "experiments.management.sessions"]

    def end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()

    with ExitStack() as undo:
        listener = server.popen([*program, "serve", str(_PORT)], log="sessions-server")
        undo.callback(end, listener)
        wait_until(lambda: server.listens(listener, _PORT), "the sessions' server listens")
        words = ["open", server.address(), str(_PORT), f"{rate:g}", "1"]
        undo.callback(end, client.popen([*program, *words], log="sessions-client"))
        yield


def _apply(management: ManagementClient, config: ServiceConfig) -> str:
    """To its end; the operation."""
    operation = management.apply(config)
    if operation is None:
        raise Unavailable("there was nothing to apply")
    ended = management.wait(operation, 5 * PATIENCE_S)
    if ended.state != "succeeded":
        raise Unavailable(f"the apply has {ended.state}: {ended.reason}")
    return ended.id


def _cool(management: ManagementClient, config: ServiceConfig) -> list[CoolDown]:
    """Plan it, apply it, and wait for every cool-down."""
    planned = {cooling.chain: cooling for cooling in predicted(management.plan(config).segments)}
    operation = _apply(management, config)
    real = took(management.history(kind="state"), operation)
    return [
        CoolDown(chain, cooling.sessions or 0, cooling.p50 or 0.0, real[chain])
        for chain, cooling in planned.items()
    ]


def predicted(segments: Iterable[SegmentPlan]) -> list[plans.CoolDown]:
    """Every cool-down of a plan; raises `Unavailable` if it predicts one of them not."""
    coolings = [cooling for segment in segments for cooling in segment.cooling]
    unknown = [cooling.chain for cooling in coolings if cooling.p50 is None]
    if unknown:
        raise Unavailable(f"the plan predicts no cool-down of {', '.join(unknown)}")
    return coolings


def took(entries: Iterable[HistoryEntry], operation: str) -> Mapping[str, float]:
    """Seconds from cooling to drained of each chain that an operation removed, as the journal has them."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for entry in entries:
        if entry.operation != operation or entry.chain is None or "state" not in entry.changes:
            continue
        _, state = entry.changes["state"]
        {"cooling": began, "drained": ended}.get(state, {})[entry.chain] = entry.at
    return {chain: at - began[chain] for chain, at in ended.items()}
