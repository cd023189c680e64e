"""Keep results as the references that come with the experiments, in the folder `reference` of each.

python -m experiments.evaluation.keep [NAME ...] [--results DIR] [--force]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catenary.errors import CatenaryError, InvalidValue
from experiments.evaluation import catalog, parameters
from experiments.evaluation.experiment import Evaluation
from experiments.evaluation.parameters import Scale
from experiments.evaluation.repeat import Status
from experiments.evaluation.sabotage import Sabotage

_EXAMPLES = """\
examples:
  python -m experiments.evaluation.keep                 all that results/ has
  python -m experiments.evaluation.keep warm-up swap    these two
  python -m experiments.evaluation.keep peers --force   however it ended, and with whatever parameters

exit status: 0 all were kept, 1 some were refused, 2 bad input
"""


def keep(item: Evaluation[Any], results: Path, *, force: bool = False) -> list[str]:
    """Copy summary and pictures from `results` in place of the reference there was, unless something speaks
    against it: what does (`force`: nothing but that there are none). Raises `InvalidValue`."""
    path = results / "summary.json"
    if not path.exists():
        return [f"there is no {path}"]
    against = [] if force else _against(item, _read(path))
    if not against:
        reference = item.folder / "reference"
        shutil.rmtree(reference, ignore_errors=True)
        reference.mkdir()
        for file in (path, *sorted(results.glob("*.png"))):
            shutil.copyfile(file, reference / file.name)
    return against


def _against(item: Evaluation[Any], summary: Mapping[str, Any]) -> list[str]:
    """Why it is none to compare with: a reference is what a plain run showed."""
    found = []
    meant = parameters.plain(parameters.read(item.folder / "parameters.toml", item.kind, Scale.DEFAULT))
    status, sabotage = summary.get("status"), summary.get("sabotage")
    if status != Status.OK:
        found.append(f"it ended as {status!r}")
    if sabotage != Sabotage.NONE:
        found.append(f"its load balancers were broken on purpose ({sabotage})")
    had = summary.get("parameters", {})
    for key in {**meant, **had}:
        if had.get(key) != meant.get(key):
            found.append(f"parameter {key} was {had.get(key)}, and is {meant.get(key)} in parameters.toml")
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise InvalidValue(f"{path} is no JSON ({error}): run the experiment again") from None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="experiments.evaluation.keep",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of an experiment; default: all")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--force", action="store_true", help="whatever speaks against it")
    arguments = parser.parse_args()
    refused = 0
    try:
        for item in catalog.evaluations(arguments.names):
            against = keep(item, arguments.results / item.name, force=arguments.force)
            refused += bool(against)
            print(f"{item.name}: {'refused: ' + '; '.join(against) if against else 'kept'}")
    except CatenaryError as error:
        print(f"keep: {error.detail}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
