"""Many worlds, each by its own seed: what they saw."""

from __future__ import annotations

import logging
import random
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from functools import partial

import structlog

from experiments.chaos.changes import ChainChanges, faults
from experiments.chaos.rewriting import RewritingWorld, translated
from experiments.chaos.rules import ALL_ON, Rule
from experiments.chaos.talk import Talks, plain
from experiments.chaos.world import Options, Outcome, Task, World

PER_WORLD = 1000
Outcomes = Generator[Outcome, None, None]


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
    options = rule.options(options)
    make = RewritingWorld if options.rewrites else World
    return play(make(options, rule.make, slow_slave=rule.slow_slave, daemon=rule.daemon), rule)


def play(world: World, rule: Rule = ALL_ON) -> Outcome:
    """Go on in a new world until its last session is over."""
    talks = Talks(world, translated if isinstance(world, RewritingWorld) else plain)
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
    pool = ProcessPoolExecutor(initializer=_end_quietly)
    try:
        yield from pool.map(partial(simulate, rule=rule), (options_of(seed) for seed in seeds))
    finally:
        pool.shutdown(cancel_futures=True)


def _end_quietly() -> None:
    """In a worker: the signals that end this command are its parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def simulate_until(
    rules: Mapping[str, Rule], first: int, worlds: range, enough: Callable[[str, Outcome], bool]
) -> Iterator[tuple[str, Outcome]]:
    """For each rule, by name, the sum of its worlds as soon as they are `enough`.

    At least `worlds.start` of them, and fewer than `worlds.stop`. A rule's own seed is added to `first`.
    """
    totals, counts = {name: Outcome() for name in rules}, dict.fromkeys(rules, 0)
    running: dict[Future[Outcome], str] = {}
    with ProcessPoolExecutor(initializer=_end_quietly) as pool:

        def go_on(name: str) -> None:
            future = pool.submit(simulate, options_of(first + rules[name].seed + counts[name]), rules[name])
            running[future] = name

        try:
            for name in rules:
                go_on(name)
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    totals[name] += future.result()
                    counts[name] += 1
                    seen = counts[name] >= worlds.start and enough(name, totals[name])
                    if seen or counts[name] >= worlds.stop - 1:
                        yield name, totals[name]
                    else:
                        go_on(name)
        finally:
            pool.shutdown(cancel_futures=True)
