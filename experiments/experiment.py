"""An experiment of several parts, as a command: `--only PARTS`, `--quick`, `--results DIR`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from rich.console import Console

from catenary.errors import CatenaryError
from experiments.outcome import chosen, conclude_parts, execute
from experiments.part import Part, Say
from experiments.summary import Claim, Figure
from topologies.namespaces import isolate

Plan = TypeVar("Plan")


@dataclass(frozen=True)
class Experiment(Generic[Plan]):
    """`name` is that of its package, its summary and its folder of results; `target` is make's.

    Each of `parts`, by name, measures by one of the two plans, and claims something of what it finds.
    """

    name: str
    target: str
    about: str
    full: Plan
    quick: Plan
    parts: Mapping[str, tuple[Callable[[Plan, Say], Part], Sequence[Claim]]]

    def main(self) -> None:
        """The command. Exit status: `outcome.execute`."""
        arguments = self._arguments()
        console = Console(highlight=False)

        def work() -> bool:
            names = chosen(arguments.only, self.parts)
            # A part of it, or a tiny run, never replaces the figures of a whole one.
            part = Path("quick" if arguments.quick else "") / ("-".join(names) if arguments.only else "")
            results: Path = (arguments.results or Path("results") / self.name / part).resolve()
            isolate()
            return self.run(names, self.quick if arguments.quick else self.full, results, console)

        execute(self.target, console, work)

    def run(self, names: Sequence[str], plan: Plan, results: Path, console: Console) -> bool:
        """Run the parts and write `summary.json`; True when every claim holds.

        A part that fails leaves its figures without values: what the others take minutes to find is not lost.
        """
        begun = time.monotonic()
        parts = []
        for name in names:
            measure, claims = self.parts[name]
            console.print(f"[bold]{name}[/]")
            try:
                parts.append(measure(plan, partial(_say, console)))
            except CatenaryError as error:
                _say(console, error.detail)
                missing = {claim.key: Figure(None, "not measured") for claim in claims}
                parts.append(Part(missing, claims, [f"{name} was not measured: {error.detail}"]))
        return conclude_parts(self.name, results, console, parts, begun)

    def _arguments(self) -> argparse.Namespace:
        module, names = f"experiments.{self.name}.run", ", ".join(self.parts)
        examples = (
            (module, "all of it"),
            (f"{module} --only {next(iter(self.parts))}", f"some parts ({names})"),
            (f"{module} --quick", "tiny runs: does the machinery work?"),
        )
        lines = "\n".join(f"  python -m {command:<50} {what}" for command, what in examples)
        parser = argparse.ArgumentParser(
            prog=module,
            description=self.about,
            epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--only", metavar="PARTS", help=f"comma-separated, of {names}")
        parser.add_argument("--quick", action="store_true", help="tiny runs: a test of the experiment itself")
        parser.add_argument("--results", type=Path, metavar="DIR")
        return parser.parse_args()


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}", markup=False, soft_wrap=True)
