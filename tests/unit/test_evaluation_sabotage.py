"""What a broken load balancer does in each experiment's own steps, and that its claims see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pytest

from catenary.session import SessionKey
from experiments.chained_pairs.run import STORY as CHAINED_PAIRS
from experiments.cool_down.run import STORY as COOL_DOWN
from experiments.evaluation import catalog, promises
from experiments.evaluation.fixed import Cases
from experiments.evaluation.parameters import Parameters, Scale, read
from experiments.evaluation.play import NFS, TESTBED, Schedule, Site, Step, chain_of
from experiments.evaluation.promises import Span
from experiments.evaluation.repeat import Once, Shown, figure
from experiments.evaluation.sabotage import Sabotage
from experiments.evaluation.scaling import Story
from experiments.injections.run import Injected
from experiments.injections_throughput.run import CASES as INJECTIONS_THROUGHPUT
from experiments.passive.run import CASES as PASSIVE
from experiments.peers.outcome import STEPS
from experiments.snort_single.run import CASES as SNORT_SINGLE
from experiments.static_nfs.run import CASES as STATIC_NFS
from experiments.swap.run import STORY as SWAP
from experiments.warm_up.run import STORY as WARM_UP
from witness.verdict import Finding, History, Verdict

STORIES: Mapping[str, Story] = {
    "warm-up": WARM_UP,
    "cool-down": COOL_DOWN,
    "swap": SWAP,
    "chained-pairs": CHAINED_PAIRS,
}
FIXED: Mapping[str, Cases] = {
    "static-nfs": STATIC_NFS,
    "snort-single": SNORT_SINGLE,
    "injections-throughput": INJECTIONS_THROUGHPUT,
    "passive": PASSIVE,
}
GROWING: Mapping[str, Sequence[Sequence[str]]] = {
    "baseline": [NFS],
    "lb-alone": [NFS[:1], NFS[:2], NFS[:3]],
    "peers": [[chain.nf for chain in step.chains] for step in STEPS],
}
"""Those that change the chains by themselves, once every second."""
PER_STEP = 12
DROPPED = 0.005
"""Of all that comes to a load balancer which drops 1 % of what goes to the chains."""
"""Sessions of each step."""
SEEN_AS = {
    Sabotage.CROSSING: ("violations", "catenary_broken"),
    Sabotage.ONE_CHAIN: ("least_share", "catenary_least_share"),
    Sabotage.DROPPING: ("lost", "catenary_lost"),
}


def plays(name: str, chosen: Any) -> Iterator[tuple[Site, Schedule]]:
    """All that an experiment plays in one run, each with a verdict of its own."""
    if name in STORIES:
        yield STORIES[name].site, STORIES[name].schedule(chosen.time_scale)
    elif name in FIXED:
        yield from ((TESTBED, case.schedule(chosen.time_scale)) for case in FIXED[name].cases)
    elif name == "injections":
        assert isinstance(chosen, Injected)
        yield from ((TESTBED, chosen.schedule()) for _ in chosen.cases)
    else:
        steps = [Step(at, tuple(nfs)) for at, nfs in enumerate(GROWING[name])]
        yield TESTBED, Schedule(tuple(steps), len(steps))


def seen(site: Site, schedule: Schedule, sabotage: Sabotage) -> tuple[list[Verdict], list[Span], float]:
    """What the witness has to tell of each segment when the load balancers do that, and what these lose."""
    moments = [*(step.at for step in schedule.steps), schedule.end]
    steps = list(zip(schedule.steps, pairwise(moments), strict=True))
    spans = [Span(*span, tuple(map(chain_of, step.nfs))) for step, span in steps]
    lost = DROPPED if sabotage is Sabotage.DROPPING else 0.0
    return [verdict(site, own, steps, sabotage) for own in site.nfs.values()], spans, lost


def verdict(
    site: Site,
    own: Sequence[str],
    steps: Sequence[tuple[Step, tuple[float, float]]],
    sabotage: Sabotage,
) -> Verdict:
    begun: list[int] = []
    chains: list[int] = []
    crossed: list[Finding] = []
    for step, (since, until) in steps:
        active, cordoned = ([nf for nf in which if nf in own] for which in (step.nfs, step.cordoned))
        returns = sabotage.returns([site.tags(nf) for nf in (*active, *cordoned)])
        takers = cycle(sabotage.takers(active, cordoned))
        for moment in np.linspace(since, until, PER_STEP, endpoint=False):
            nf = next(takers)
            if returns[site.tags(nf).reverse] and len(begun) % 2:
                crossed.append(Finding(len(begun), key(len(begun)), 1, "crossed"))
            begun.append(int(moment * 1e9))
            chains.append(own.index(nf))
    times = np.array(begun)
    history = History(times, times, np.array(chains), np.zeros(len(times), dtype=bool))
    return Verdict(tuple(map(chain_of, own)), history, violations=tuple(crossed))


def key(port: int) -> SessionKey:
    return SessionKey.parse(f"tcp 10.0.0.1:{1024 + port} 10.0.0.2:80")


def claimed(shown: Sequence[Shown], keys: Sequence[str], figures: Mapping[str, float | None]) -> bool:
    """Whether the claim of that name, whichever of `keys` it has here, holds for these figures."""
    item = next(item for item in shown if item.key in keys)
    claim = item.claim
    assert claim is not None, item.key
    return claim.holds({item.key: figure(item, [Once({item.key: figures[keys[0]]})])})


def chosen_of(name: str) -> tuple[Parameters, Sequence[Shown]]:
    found = catalog.evaluation(name)
    chosen = read(found.folder / "parameters.toml", found.kind, Scale.DEFAULT)
    return chosen, found.shown(chosen)


@pytest.mark.parametrize("name", catalog.NAMES)
@pytest.mark.parametrize(("sabotage", "keys"), SEEN_AS.items())
def test_each_part_of_each_experiment_sees_it(name: str, sabotage: Sabotage, keys: Sequence[str]) -> None:
    chosen, shown = chosen_of(name)
    for site, schedule in plays(name, chosen):
        assert claimed(shown, keys, promises.of_verdicts(*seen(site, schedule, Sabotage.NONE)))
        assert not claimed(shown, keys, promises.of_verdicts(*seen(site, schedule, sabotage))), schedule


def test_one_bad_run_of_three_is_seen() -> None:
    _, shown = chosen_of("snort-single")
    site, schedule = next(plays("snort-single", chosen_of("snort-single")[0]))
    for sabotage, keys in SEEN_AS.items():
        item = next(item for item in shown if item.key in keys)
        runs = [
            Once(promises.of_verdicts(*seen(site, schedule, each)))
            for each in (Sabotage.NONE, sabotage, Sabotage.NONE)
        ]
        assert item.claim is not None
        assert not item.claim.holds({item.key: figure(item, runs)}), item.key


def test_a_cordoned_chain_takes_what_was_meant_for_the_only_other() -> None:
    assert Sabotage.NONE.takers(["n1"], ["n2"]) == ["n1"]
    assert Sabotage.ONE_CHAIN.takers(["n1"], ["n2"]) == ["n2"]
    assert Sabotage.ONE_CHAIN.takers(["n1", "n2", "n3"], []) == ["n1"]
    assert Sabotage.CROSSING.returns([TESTBED.tags("n1"), TESTBED.tags("n2")]) == {3: 5, 5: 3}
    assert Sabotage.CROSSING.returns([TESTBED.tags("n1")]) == {3: 0}, "no other: an old swap is undone"
    assert Sabotage.DROPPING.returns([TESTBED.tags("n1"), TESTBED.tags("n2")]) == {3: 0, 5: 0}
