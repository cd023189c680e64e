"""An experiment that is run several times, as a command, and its results.

`results/NAME/` has `summary.json`, the pictures, and in `data/` what they are drawn from, as CSV and Parquet.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic

from rich.console import Console

from catenary.errors import CatenaryError
from experiments import outcome, summary
from experiments.evaluation import machine, parameters, preflight, repeat
from experiments.evaluation.parameters import P, Scale
from experiments.evaluation.preflight import Need
from experiments.evaluation.repeat import Once, Shown, Status, Tables
from experiments.evaluation.sabotage import Sabotage
from experiments.part import Say
from topologies.namespaces import isolate

NOISY = 3
"""Exit status of a run that was too noisy to tell."""
_EXIT = "exit status: 0 all is as asked, 1 it is not, 2 bad input, 3 noisy, 130 interrupted"


@dataclass(frozen=True)
class Setting(Generic[P]):
    """Of one run. `sabotage` is what is done to its load balancers, to see that the experiment notices.

    `facts` takes what turns up on the way about the machine; all runs share it.
    """

    parameters: P
    seed: int
    sabotage: Sabotage
    say: Say
    facts: dict[str, Any] = field(default_factory=dict)


Plot = Callable[[Path, P, Tables], None]
"""Draws pictures into a folder, from what all runs by these parameters have exported."""


@dataclass(frozen=True)
class Evaluation(Generic[P]):
    """`name` is that of its folder (hyphens for underscores), its target and its results.

    `once` makes one run: it tells what it has found so far after each of its parts, and of all of them at
    last. `plot` (its plot.py) draws its pictures. `shown` are its figures, `needs` what the machine must
    have.
    """

    name: str
    about: str
    kind: type[P]
    shown: Callable[[P], Sequence[Shown]]
    once: Callable[[Setting[P]], Iterator[Once]]
    plot: Plot[P]
    needs: Callable[[P], Sequence[Need]]

    @property
    def module(self) -> str:
        return f"experiments.{self.name.replace('-', '_')}"

    @property
    def folder(self) -> Path:
        return Path(__file__).resolve().parents[1] / self.name.replace("-", "_")

    def main(self) -> None:
        """The command. Exit status: `outcome.execute`, and 3 for a noisy run."""
        arguments = self._parser().parse_args()
        console = Console(highlight=False, stderr=arguments.json)
        status = Status.OK

        def work() -> bool:
            nonlocal status
            chosen = self.checked(scale_of(arguments), arguments.set)
            results: Path = (arguments.results or self._results(arguments)).resolve()
            isolate()
            status = self.run(chosen, results, Sabotage(arguments.sabotage), console)
            if arguments.json:
                print((results / "summary.json").read_text(), end="")
            if status is Status.INTERRUPTED:
                raise KeyboardInterrupt(f"what was measured is in {results}")
            return status is not Status.NOT_REACHED

        try:
            outcome.execute(self.name, console, work)
        except SystemExit as end:
            if end.code == 0 and status is Status.NOISY:
                sys.exit(NOISY)
            raise

    def _results(self, arguments: argparse.Namespace) -> Path:
        """Only a run as it is meant to be replaces the figures of one."""
        scale = scale_of(arguments)
        own = [] if scale is Scale.DEFAULT else [str(scale)]
        own += ["set"] if arguments.set else []
        own += [arguments.sabotage] if arguments.sabotage != Sabotage.NONE else []
        return Path("results") / self.name / "-".join(own)

    def checked(self, scale: Scale, sets: Sequence[str] = ()) -> P:
        """The parameters, once they and the machine are found fit. Raises what is wrong with either."""
        chosen = parameters.read(self.folder / "parameters.toml", self.kind, scale, sets)
        preflight.check(self.needs(chosen))
        return chosen

    def run(self, chosen: P, results: Path, sabotage: Sabotage, console: Console) -> Status:
        """All runs, and what comes of them.

        An interruption ends it, and what was measured is kept. Raises `KeyboardInterrupt` if nothing was:
        then the results of an earlier run stay.
        """
        begun = time.monotonic()
        say = partial(_say, console)
        runs: list[Once] = []
        facts: dict[str, Any] = {"versions": machine.versions(need.name for need in self.needs(chosen))}
        interrupted = False
        for number in range(chosen.runs):
            seed = chosen.seed + number
            console.print(f"[bold]{self.name}[/]: run {number + 1} of {chosen.runs}, seed {seed}")
            found = Once({})
            try:
                for told in self.once(Setting(chosen, seed, sabotage, say, facts)):
                    found = told
                runs.append(found)
            except KeyboardInterrupt:
                interrupted = True
                if found.figures:
                    line = f"run {number + 1} was interrupted: figures of its finished parts only"
                    runs.append(replace(found, whole=False, details=[*found.details, line]))
                if not any(run.figures for run in runs):
                    raise
                break
            except CatenaryError as error:
                say(f"run {number + 1} failed: {error.detail}")
                runs.append(Once({}, details=[f"run {number + 1} failed: {error.detail}"]))
        return self._conclude(chosen, results, sabotage, console, runs, facts, interrupted, begun)

    def _conclude(
        self,
        chosen: P,
        results: Path,
        sabotage: Sabotage,
        console: Console,
        runs: Sequence[Once],
        facts: Mapping[str, Any],
        interrupted: bool,
        begun: float,
    ) -> Status:
        shown = self.shown(chosen)
        figures = {item.key: repeat.figure(item, runs) for item in shown}
        claims = [item.claim for item in shown if item.claim is not None]
        noise = repeat.noisy(shown, figures, chosen.spread)
        broken = [claim for claim in claims if not claim.holds(figures)]
        status = Status.NOT_REACHED if broken else Status.NOISY if noise else Status.OK
        status = Status.INTERRUPTED if interrupted else status
        self._write_data(results, chosen, runs)
        outcome.conclude(
            self.name,
            results,
            console,
            figures,
            claims,
            summary.environment(
                **facts,
                seconds=round(time.monotonic() - begun),
                time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            ),
            [line for run in runs for line in run.details] + [f"noisy: {line}" for line in noise],
            ok=status is Status.OK,
            status=status,
            runs=sum(run.whole for run in runs),
            seeds=[chosen.seed + number for number in range(len(runs))],
            sabotage=sabotage,
            parameters=parameters.plain(chosen),
            asked={c.key: {"text": c.text, "holds": c.holds(figures)} for c in claims},
            command=shlex.join(["python", "-m", f"{self.module}.run", *sys.argv[1:]]),
        )
        console.print(f"{self.name} is {status}; written: {results}/summary.json", soft_wrap=True)
        return status

    def _write_data(self, results: Path, chosen: P, runs: Sequence[Once]) -> None:
        from experiments.evaluation import export  # slow to load, and not needed before

        measured = [run for run in runs if run.figures]
        if measured:
            export.write(results / "data", repeat.joined(measured))
            self.draw(results, chosen)

    def draw(self, results: Path, chosen: P) -> None:
        """The pictures, from the tables that stand in `results`."""
        from experiments.evaluation import export

        self.plot(results, chosen, export.read(results / "data"))

    def _parser(self) -> argparse.ArgumentParser:
        module = f"{self.module}.run"
        examples = (
            ("", "the default: some minutes"),
            ("--set runs=1", "one run only; other parameters are in parameters.toml"),
            ("--paper-scale", "the paper's own sizes, for larger machines"),
            ("--quick --json", "the smallest form; its summary as JSON"),
        )
        lines = "\n".join(f"  python -m {module} {options:<17} {what}" for options, what in examples)
        parser = argparse.ArgumentParser(
            prog=module,
            description=self.about,
            epilog=f"examples:\n{lines}\n\n{_EXIT}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_options(parser)
        return parser


def scale_of(arguments: argparse.Namespace) -> Scale:
    """What the options of `add_options` say."""
    if arguments.paper_scale:
        return Scale.PAPER
    return Scale.QUICK if arguments.quick else Scale.DEFAULT


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every experiment has."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--paper-scale", action="store_true", help="the paper's own sizes")
    size.add_argument("--quick", action="store_true", help="the smallest form")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of a parameter; may be repeated",
    )
    parser.add_argument(
        "--sabotage",
        choices=[str(item) for item in Sabotage],
        default=str(Sabotage.NONE),
        help="break the load balancers, to see that the experiment fails",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--results", type=Path, metavar="DIR")


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}", markup=False, soft_wrap=True)
