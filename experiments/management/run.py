"""What the management system takes, and whether it keeps its word when it is killed (README.md).

python -m experiments.management.run [--only PARTS] [--quick] [--results DIR]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from catenary.errors import CatenaryError
from experiments.management import compared, cooldowns, crashes, explained, failover, scale, wide
from experiments.management.plan import FULL, QUICK, Measure, Plan
from experiments.outcome import chosen, conclude_parts, execute
from experiments.part import Part
from experiments.summary import Claim, Figure
from topologies.namespaces import isolate

RESULTS = Path("results/management")
PARTS: dict[str, tuple[Measure, Sequence[Claim]]] = {
    "scale": (scale.measure, scale.CLAIMS),
    "wide": (wide.measure, wide.CLAIMS),
    "explained": (explained.measure, explained.CLAIMS),
    "compared": (compared.measure, compared.CLAIMS),
    "cooldowns": (cooldowns.measure, cooldowns.CLAIMS),
    "crashes": (crashes.measure, crashes.CLAIMS),
    "failover": (failover.measure, failover.CLAIMS),
}
_EXAMPLES = f"""\
examples:
  python -m experiments.management.run                       all of it
  python -m experiments.management.run --only scale          some parts ({", ".join(PARTS)})
  python -m experiments.management.run --quick               tiny runs: does the machinery work?
"""


def main() -> None:
    arguments = _arguments()
    console = Console(highlight=False)

    def work() -> bool:
        names = chosen(arguments.only, PARTS)
        # A part of it, or a tiny run, never replaces the figures of a whole one.
        part = Path("quick" if arguments.quick else "") / ("-".join(names) if arguments.only else "")
        results: Path = (arguments.results or RESULTS / part).resolve()
        isolate()
        return bench(names, QUICK if arguments.quick else FULL, results, console)

    execute("bench-mgmt", console, work)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="experiments.management.run",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="PARTS", help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="tiny runs: a test of the experiment itself")
    parser.add_argument("--results", type=Path, metavar="DIR")
    return parser.parse_args()


def bench(names: Sequence[str], plan: Plan, results: Path, console: Console) -> bool:
    """Run the parts and write `summary.json`; True when every claim holds.

    A part that fails leaves its figures without values: what the others take minutes to find is not lost.
    """
    begun = time.monotonic()
    parts = []
    for name in names:
        measure, claims = PARTS[name]
        console.print(f"[bold]{name}[/]")
        try:
            parts.append(measure(plan, partial(_say, console)))
        except CatenaryError as error:
            _say(console, error.detail)
            missing = {claim.key: Figure(None, "not measured") for claim in claims}
            parts.append(Part(missing, claims, [f"{name} was not measured: {error.detail}"]))
    return conclude_parts("management", results, console, parts, begun)


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
