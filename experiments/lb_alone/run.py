"""The load balancers by themselves, beside the paper's Algorithm 1 (paper, section IV)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from experiments.demo.figures import slowest_of
from experiments.evaluation import promises
from experiments.evaluation.experiment import Evaluation, Setting
from experiments.evaluation.parameters import Parameters
from experiments.evaluation.preflight import TESTBED
from experiments.evaluation.repeat import Once, Shown, Table, none_of
from experiments.lb_alone import plot
from experiments.lb_alone.measuring import Alone, Offered, measure
from experiments.peers.alone import AlgorithmOne
from experiments.peers.balancing import CHAINS, Balancing, Managed
from topologies.testbed import Testbed

Name = Literal["catenary", "algorithm1"]
KINDS: Mapping[Name, Callable[[Testbed], Balancing]] = {"catenary": Managed, "algorithm1": AlgorithmOne}
_LEAST = 0.9
"""Of what Algorithm 1 does, which says nothing to its other end."""
_BALANCED_S = 3.0
_RATIOS = ("ratio_sessions", "ratio_mbit")


class Sizes(Parameters):
    """`seconds` of each load; `short` sessions at a time, and numbers of `long` ones."""

    seconds: float = Field(gt=0, le=600)
    short: int = Field(ge=1, le=1000)
    long: tuple[int, ...] = Field(min_length=1)

    def offered(self) -> Offered:
        return Offered(self.seconds, self.short, self.long)


def _shown(chosen: Sizes) -> list[Shown]:
    chains = range(1, len(CHAINS) + 1)
    found = [Shown(f"{name}_sessions_{n}", "sessions/s", steady=True) for name in KINDS for n in chains]
    found += [Shown(f"{name}_mbit_{n}", "Mbit/s", steady=True) for name in KINDS for n in chosen.long]
    found += [Shown(f"{name}_{what}_s", "s until balanced") for name in KINDS for what in ("add", "remove")]
    found += [Shown(key, "of Algorithm 1's, all together", at_least=_LEAST) for key in _RATIOS]
    slowest = Shown("balanced_s", "s, the slower of both", 3, at_most=_BALANCED_S)
    return [*found, slowest, none_of("failed", "requests"), *promises.shown(clients=False)]


def _once(setting: Setting[Sizes]) -> Iterator[Once]:
    chosen = setting.parameters
    found: dict[str, Alone] = {}
    # In turn each comes first: what else the machine does changes from minute to minute.
    for name, balancing in sorted(KINDS.items(), reverse=setting.seed % 2 == 0):
        made = partial(Managed, sabotage=setting.sabotage) if name == "catenary" else balancing
        setting.say(name)
        found[name] = measure(made, chosen.offered(), setting.say, setting.facts)
    ours, theirs = found["catenary"], found["algorithm1"]
    figures: dict[str, float | None] = {}
    for kind, alone in found.items():
        figures |= {f"{kind}_sessions_{n}": rate for n, rate in alone.sessions.items()}
        figures |= {f"{kind}_mbit_{n}": rate for n, rate in alone.throughput.items()}
        figures |= {f"{kind}_add_s": alone.add_s, f"{kind}_remove_s": alone.remove_s}
    ratios = _over(ours.sessions, theirs.sessions), _over(ours.throughput, theirs.throughput)
    figures |= zip(_RATIOS, ratios, strict=True)
    figures["balanced_s"] = slowest_of([ours.add_s, ours.remove_s])
    figures["failed"] = ours.failed
    figures |= promises.of_verdicts([ours.verdict], ours.spans, ours.lost)
    tables = {
        "sessions": _table("chains", found, "sessions"),
        "throughput": _table("sessions", found, "throughput"),
    }
    yield Once(figures, tables, promises.findings([ours.verdict]))


def _over(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float | None:
    """Of all rates together: one alone says more of the machine's moment."""
    return sum(ours.values()) / sum(theirs.values()) if any(theirs.values()) else None


def _table(key: str, found: Mapping[str, Alone], what: str) -> Table:
    values: dict[str, dict[int, float]] = {name: getattr(alone, what) for name, alone in found.items()}
    numbers = list(next(iter(values.values())))
    columns = {name: np.array([rates[n] for n in numbers]) for name, rates in values.items()}
    return {key: np.array(numbers), **columns}


EVALUATION = Evaluation(
    name="lb-alone",
    about="The load balancers without NFs, beside the paper's Algorithm 1 (paper, IV)",
    kind=Sizes,
    shown=_shown,
    once=_once,
    plot=plot.draw,
    needs=lambda _: TESTBED,
)

if __name__ == "__main__":
    EVALUATION.main()
