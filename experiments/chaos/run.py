"""Attack the promise: a random simulator of the pair; then the same with each rule switched off (README.md).

python -m experiments.chaos.run [--sessions N] [--seed S] [--without RULE] [--results DIR]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from catenary.errors import InvalidValue
from experiments import summary
from experiments.chaos import model
from experiments.chaos.rules import ALL_ON, BASELINE, CALM, RULES, Rule
from experiments.chaos.world import Outcome
from experiments.outcome import conclude, execute
from experiments.summary import Claim, Figure

RESULTS = Path("results/chaos")
SHORT = 100_000
FEW, MANY = 4, 60
"""Worlds with a rule switched off: at least, and at most until what it prevents is seen."""
SHOWN = 3


def main() -> None:
    arguments = _arguments()
    console = Console(highlight=False)

    def work() -> bool:
        if arguments.without is not None:
            return _without(arguments.without, arguments.seed, console)
        return _chaos(arguments.sessions, arguments.seed, arguments.results.resolve(), console)

    execute("chaos", console, work)


def _arguments() -> argparse.Namespace:
    rules = "\n".join(f"  {name:16} {rule.text}" for name, rule in RULES.items())
    parser = argparse.ArgumentParser(
        prog="experiments.chaos.run",
        description=__doc__,
        epilog=f"rules that can be switched off, and what happens then:\n{rules}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sessions", type=int, default=SHORT, metavar="N", help=f"default {SHORT}")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the first world")
    parser.add_argument("--without", metavar="RULE", help="only this: one world with the rule switched off")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    arguments = parser.parse_args()
    if not 1 <= arguments.sessions <= 10**8:
        parser.error(f"--sessions {arguments.sessions}: use 1..{10**8}")
    return arguments


def _without(name: str, seed: int, console: Console) -> bool:
    """One world with a rule off, and the first of what it broke; True when its symptom is there."""
    if name not in RULES:
        raise InvalidValue(f"--without {name!r}: the rules are {', '.join(RULES)}")
    rule = RULES[name]
    seen = model.simulate(model.options_of(seed), rule)
    console.print(f"without {name}: {rule.text}")
    console.print(f"  {_seen(seen)}")
    if seen.broken:
        console.print(min(seen.broken, key=len), markup=False, soft_wrap=True)
    return _count(name, seen) > 0


def _chaos(sessions: int, first: int, results: Path, console: Console) -> bool:
    seeds = range(first, first + -(-sessions // model.PER_WORLD))
    begun = time.monotonic()
    seen = _worlds(console, "all rules on", seeds, ALL_ON)
    calm = _worlds(console, "all rules on, without faults", seeds[:FEW], CALM)
    lost = {name: _until_seen(console, name, first) for name in RULES}
    figures = {
        "simulated_sessions": Figure(seen.sessions, "sessions"),
        "simulated_packets": Figure(seen.packets, "packets"),
        "simulated_changes": Figure(seen.changes, "changes of the chain set"),
        "simulated_faults": Figure(seen.faults, "faults"),
        "simulated_violations": Figure(len(seen.broken), "sessions"),
        "simulated_orphaned": Figure(seen.orphaned, "sessions"),
        "cut_without_faults": Figure(calm.cut.total(), "packets"),
        "baseline_violations": Figure(len(lost[BASELINE].broken), f"of {lost[BASELINE].sessions} sessions"),
    }
    rules = {f"without_{name}": _symptom(name, worlds) for name, worlds in lost.items()}
    claims = [
        Claim("simulated_sessions", at_least=sessions),
        Claim("simulated_violations", 0, 0),
        Claim("cut_without_faults", 0, 0),
        Claim("baseline_violations", at_least=1),
        *(Claim(key, at_least=1) for key in rules),
    ]
    facts = summary.environment(
        first_seed=first,
        worlds=len(seeds),
        seconds=round(time.monotonic() - begun),
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    ok = conclude("chaos", results, console, figures | rules, claims, facts, _shortest(seen.broken))
    console.print(f"written: {results}/summary.json", soft_wrap=True)
    return ok


def _worlds(console: Console, text: str, seeds: range, rule: Rule) -> Outcome:
    total = Outcome()
    with console.status(text) as status:
        for number, seen in enumerate(model.simulate_all(seeds, rule), 1):
            total += seen
            status.update(f"{text}: {number} of {len(seeds)} worlds, {_seen(total)}")
    console.print(f"{text}: {_seen(total)}")
    return total


def _until_seen(console: Console, name: str, first: int) -> Outcome:
    """Worlds with a rule off, until its symptom shows."""
    text, total = f"without {name}", Outcome()
    with console.status(text) as status:
        for number, seen in enumerate(model.simulate_all(range(first, first + MANY), RULES[name]), 1):
            total += seen
            status.update(f"{text}: {number} worlds, {_seen(total)}")
            if number >= FEW and _count(name, total):
                break
    console.print(f"{text}: {_seen(total)}")
    return total


def _seen(total: Outcome) -> str:
    return f"{total.sessions} sessions, {len(total.broken)} crossed, {total.cut.total()} packets cut"


def _count(name: str, seen: Outcome) -> int:
    return len(seen.broken) if RULES[name].symptom == "crossed" else seen.cut.total()


def _symptom(name: str, seen: Outcome) -> Figure:
    what = "sessions crossed" if RULES[name].symptom == "crossed" else "packets cut"
    return Figure(_count(name, seen), f"{what}, of {seen.sessions} sessions")


def _shortest(broken: Sequence[str]) -> list[str]:
    """The counter-examples that are read most easily."""
    return sorted(broken, key=len)[:SHOWN]


if __name__ == "__main__":
    main()
