"""Run experiments of the paper's evaluation one after the other, each in a process of its own.

python -m experiments.evaluation.run [NAME ...] [--paper-scale | --quick] [--set KEY=VALUE] [--results DIR]
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from catenary.errors import CatenaryError
from experiments.evaluation import catalog
from experiments.evaluation.experiment import NOISY, add_options, scale_of
from experiments.evaluation.sabotage import Sabotage
from experiments.outcome import INTERRUPTED

_EXAMPLES = f"""\
experiments: {", ".join(catalog.NAMES)}

examples:
  python -m experiments.evaluation.run                        all of them, about an hour
  python -m experiments.evaluation.run warm-up cool-down      these two
  python -m experiments.evaluation.run --list                 what each is about

exit status: 0 all is as asked, 1 something is not, 2 bad input, 3 something was noisy, 130 interrupted
(under make: 2 for all but 0)
"""


def main() -> None:
    arguments = _parser().parse_args()
    try:
        chosen = catalog.evaluations(arguments.names)
        if arguments.list:
            for item in chosen:
                print(f"{item.name:<24} {item.about}")
            return
        for item in chosen:  # all of them, before anything starts
            item.checked(scale_of(arguments), arguments.set)
    except CatenaryError as error:
        print(f"experiments: {error.detail}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(worst([_run(f"{item.module}.run", item.name, arguments) for item in chosen]))


def worst(statuses: Sequence[int]) -> int:
    """The exit status for several: what failed wins over what was noisy."""
    others = [status for status in statuses if status not in (0, NOISY)]
    return others[0] if others else max(statuses, default=0)


def _run(module: str, name: str, arguments: argparse.Namespace) -> int:
    options = [f"--set={text}" for text in arguments.set]
    options += [
        flag for flag, on in (("--paper-scale", arguments.paper_scale), ("--quick", arguments.quick)) if on
    ]
    options += ["--json"] if arguments.json else []
    options += ["--sabotage", arguments.sabotage] if arguments.sabotage != Sabotage.NONE else []
    if arguments.results is not None:
        options += ["--results", str(Path(arguments.results) / name)]
    status = attend([sys.executable, "-m", module, *options])
    if status == INTERRUPTED:
        sys.exit(status)
    return status


def attend(command: Sequence[str]) -> int:
    """Run it to its end; its exit status, or `INTERRUPTED` if this process was told to stop meanwhile.

    An experiment that is interrupted takes down its network and writes what it measured, however long that
    takes. Ctrl-C reaches it by itself, as it is of the same process group; SIGTERM is passed on to it.
    """
    told: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    def stop(number: int, _frame: object) -> None:
        told.append(number)
        if number == signal.SIGTERM:
            for process in running:
                process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        running.append(subprocess.Popen(command))
        if signal.SIGTERM in told:  # before there was anything to pass it on to
            running[0].terminate()
        status = running[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return INTERRUPTED if told else status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="experiments.evaluation.run",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of an experiment; default: all")
    parser.add_argument("--list", action="store_true", help="what there is, and nothing else")
    add_options(parser)
    return parser


if __name__ == "__main__":
    main()
