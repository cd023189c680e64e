"""Many worlds, each by its own seed: what they saw."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import structlog

from experiments.chaos.changes import ChainChanges, faults
from experiments.chaos.rules import ALL_ON, Rule
from experiments.chaos.talk import Talks
from experiments.chaos.world import Options, Outcome, Task, World

PER_WORLD = 1000
Outcomes = Iterator[Outcome]


def options_of(seed: int, sessions: int = PER_WORLD) -> Options:
    """A world by its seed: everything that a rule may depend on is drawn."""
    rng = random.Random(seed)
    base = Options(seed)
    timeouts = replace(
        base.timeouts, lease=rng.choice((0.125, 0.15, 0.15, 0.4)), tcp_closing=rng.choice((0.2, 0.3))
    )
    crowded = rng.random() < 0.2
    return replace(
        base,
        sessions=sessions,
        timeouts=timeouts,
        policy=rng.choice(("maglev", "p2c", "p2c")),
        capacity=rng.choice((20, 40, 60)) if crowded else base.capacity,
        refuse_full=rng.random() < 0.3,
        slow_start=rng.choice((0.0, 0.0, 0.5)),
        loss=rng.choice((0.0, 0.02, 0.1)),
        control_loss=rng.choice((0.0, 0.1, 0.4)),
        change_every=rng.choice((100, 300, 1000)),
        fault_every=rng.choice((1000, 5000)),
    )


def simulate(options: Options, rule: Rule = ALL_ON) -> Outcome:
    """Run one world to its end; `rule` says what is switched off in it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    world = World(rule.options(options), rule.make, slow_slave=rule.slow_slave)
    talks = Talks(world)
    changes = ChainChanges(world, forced=rule.forced, hasty=rule.hasty)

    def live() -> Task:
        yield from changes.begin()
        world.spawn(talks.keep_busy())
        for task in (changes.run(), changes.reap(), faults(world)):
            world.spawn(task, control=True)

    world.spawn(world.tick(), control=True)
    world.spawn(live(), control=True)
    world.run(until=lambda: talks.over)
    return world.outcome


def simulate_all(seeds: Iterable[int], rule: Rule = ALL_ON) -> Outcomes:
    """One outcome a seed, in their order, on all processors; what nobody waits for any more is cancelled."""
    pool = ProcessPoolExecutor()
    try:
        yield from pool.map(partial(simulate, rule=rule), (options_of(seed) for seed in seeds))
    finally:
        pool.shutdown(cancel_futures=True)
