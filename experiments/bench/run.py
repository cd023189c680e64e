"""The benchmark: every part of it in one run, judged, drawn, written to results/bench (README.md).

python -m experiments.bench.run [--only paths,asks] [--quick] [--rounds N] [--results DIR] [--docs PAGE]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from catenary.errors import CatenaryError
from experiments import summary
from experiments.bench import asks, c_core, capacity, packet, paths, report, resync, slowdown, switch
from experiments.bench.plan import FULL, QUICK, Part, Plan, Result
from experiments.outcome import chosen, execute
from experiments.summary import Claim, Figure
from topologies.namespaces import isolate

RESULTS = Path("results/bench")
CHECKOUT = Path(__file__).resolve().parents[2]
PARTS: dict[str, Part] = {
    "paths": paths.measure,
    "packet": packet.measure,
    "c_core": c_core.measure,
    "capacity": capacity.measure,
    "switch": switch.measure,
    "asks": asks.measure,
    "resync": resync.measure,
    "slowdown": slowdown.measure,
}


def main() -> None:
    arguments = _arguments()
    console = Console(highlight=False)

    def work() -> bool:
        names = chosen(arguments.only, PARTS)
        plan = QUICK if arguments.quick else FULL
        if arguments.rounds is not None:
            plan = replace(plan, rounds=arguments.rounds)
        # A part of it never replaces the figures of a whole run.
        part = Path("quick" if arguments.quick else "") / ("-".join(names) if arguments.only else "")
        results: Path = (arguments.results or RESULTS / part).resolve()
        page: Path | None = arguments.docs and arguments.docs.resolve()
        isolate()
        return bench(names, plan, results, console, page)

    execute("bench", console, work)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.bench.run", description=__doc__)
    parser.add_argument("--only", metavar="PARTS", help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="tiny runs: a test of the benchmark itself")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved runs (default 5)")
    parser.add_argument("--results", type=Path, metavar="DIR")
    parser.add_argument("--docs", type=Path, metavar="PAGE", help="put the table into docs/performance.md")
    return parser.parse_args()


def bench(names: Sequence[str], plan: Plan, results: Path, console: Console, page: Path | None) -> bool:
    """Run the parts, write all files; True when every claim holds."""
    found: list[Result] = []
    failed: list[str] = []
    for name in names:
        console.print(f"[bold]{name}[/]")
        try:
            found.append(PARTS[name](plan, partial(_say, console)))
        except CatenaryError as error:  # what the other parts take minutes to find is not lost
            failed.append(f"{name}: {error.detail}")
            _say(console, error.detail)
    figures = {key: figure for result in found for key, figure in result.figures.items()}
    everything = figures | {key: figure for result in found for key, figure in result.ratios.items()}
    claims = [claim for result in found for claim in result.claims]
    runs = {key: values for result in found for key, values in result.runs.items()}
    # As a reader types them: from the checkout.
    settings = {
        key: command.replace(f"{CHECKOUT}/", "")
        for result in found
        for key, command in result.settings.items()
    }
    broken = [claim for claim in claims if not claim.holds(everything)]
    ok = not broken and not failed
    facts = summary.environment(
        rounds=plan.rounds, time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), settings=settings
    )
    summary.write(results / "summary.json", "bench", ok=ok, figures=figures, environment=facts)
    table = report.markdown(everything, claims, settings, _machine(facts))
    (results / "figures.md").write_text(table)
    report.claims_file(results / "claims.json", everything, claims, runs)
    if "paths" in names:
        report.plot_paths(results / "paths.png", runs)
    if {"packet", "c_core"} & set(names):
        report.plot_costs(results / "packet.png", runs, claims)
    if page is not None:
        report.replace_table(page, table)
    _show(console, everything, claims)
    for claim in broken:
        value = everything[claim.key].value
        console.print(f"[red]not reached:[/] {claim.key} {claim.text} (it is {value})")
    for text in failed:
        console.print(f"[red]not measured:[/] {text}", soft_wrap=True)
    console.print(f"written: {results}/summary.json, figures.md, claims.json and plots")
    return ok


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}", markup=False, soft_wrap=True)


def _machine(facts: dict[str, Any]) -> str:
    return f"{facts['cpu']}, {facts['cpus']} CPUs, Linux {facts['kernel']}, load {facts['load_average']:g}"


def _show(console: Console, figures: dict[str, Figure], claims: Sequence[Claim]) -> None:
    asked = {claim.key: claim for claim in claims}
    table = Table("figure", "median", "min .. max", "unit", "asked", "")
    for key, figure in figures.items():
        claim = asked.get(key)
        mark = "" if claim is None else "[green]✓[/]" if claim.holds(figures) else "[red]✗[/]"
        value = "-" if figure.value is None else f"{figure.value:g}"
        unit, spread = report.unit_and_spread(figure)
        table.add_row(key, value, spread, unit, claim.text if claim else "", mark)
    console.print(table)


if __name__ == "__main__":
    main()
