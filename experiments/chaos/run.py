"""Attack the promise: a simulator of the pair, and the real pair under a schedule of faults (README.md).

python -m experiments.chaos.run [--only PART] [--sessions N] [--each N] [--fault KIND] [--seed S]
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from rich.console import Console

from experiments.chaos import simulator
from experiments.chaos.aside import aside
from experiments.chaos.field.run import attacked
from experiments.chaos.field.schedule import FAULTS, Kind
from experiments.chaos.rules import RULES
from experiments.chaos.simulator import SHORT
from experiments.outcome import conclude_parts, execute
from experiments.part import Part
from topologies.namespaces import isolate

RESULTS = Path("results/chaos")
EACH = 3
_EXAMPLES = """\
examples:
  python -m experiments.chaos.run                                  all of it, about four minutes
  python -m experiments.chaos.run --only real                      the real pair, every fault 3 times
  python -m experiments.chaos.run --fault kill-master --each 10    only this fault, 10 times
  python -m experiments.chaos.run --only simulator --sessions 5000 --seed 77
  python -m experiments.chaos.run --without late-packets           one simulated world without a rule
"""


def main() -> None:
    arguments = _arguments()
    console = Console(highlight=False)

    def work() -> bool:
        if arguments.without is not None:
            return simulator.without(arguments.without, arguments.seed, console)
        return _chaos(arguments, arguments.results.resolve(), console)

    execute("chaos", console, work)


def _arguments() -> argparse.Namespace:
    rules = "\n".join(f"  {name:16} {rule.text}" for name, rule in RULES.items())
    faults = ", ".join(kind for kind in Kind if kind is not Kind.CALM)
    parser = argparse.ArgumentParser(
        prog="experiments.chaos.run",
        description=__doc__,
        epilog=f"{_EXAMPLES}\nrules to switch off, and what happens then:\n{rules}\nfaults: {faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", choices=("simulator", "real"), help="one part only")
    add("--sessions", type=int, default=SHORT, metavar="N", help=f"simulated ones; default {SHORT}")
    add("--each", type=int, default=EACH, metavar="N", help=f"real faults of a kind; default {EACH}")
    add("--fault", type=Kind, action="append", metavar="KIND", help="only this real one; may be repeated")
    add("--seed", type=int, default=0, metavar="S", help="of the first world, and of the faults' order")
    add("--without", metavar="RULE", help="only this: one simulated world with the rule switched off")
    add("--results", type=Path, default=RESULTS, metavar="DIR")
    arguments = parser.parse_args()
    if not 1 <= arguments.sessions <= 10**8:
        parser.error(f"--sessions {arguments.sessions}: use 1..{10**8}")
    if not 1 <= arguments.each <= 1000:
        parser.error(f"--each {arguments.each}: use 1..1000")
    if arguments.fault:
        arguments.only = "real"
    return arguments


def _chaos(arguments: argparse.Namespace, results: Path, console: Console) -> bool:
    begun = time.monotonic()
    parts = _parts(arguments, results, console)
    return conclude_parts("chaos", results, console, parts, begun)


def _parts(arguments: argparse.Namespace, results: Path, console: Console) -> list[Part]:
    """The real part mostly waits: meanwhile the simulator has the processors."""
    kinds = tuple(arguments.fault or FAULTS)
    simulate = partial(simulator.simulated, arguments.sessions, arguments.seed)
    if arguments.only == "simulator":
        return [simulate(console)]
    isolate()  # goes on in a process of its own, so nothing may be begun before
    if arguments.only == "real":
        return [attacked(kinds, arguments.each, arguments.seed, results, console)]
    with aside(partial(simulate, Console(highlight=False, force_terminal=False))) as simulated:
        real = attacked(kinds, arguments.each, arguments.seed, results, console)
        return [simulated(), real]


if __name__ == "__main__":
    main()
