"""Draw an experiment's pictures again, from the tables that a run has exported: the command of a plot.py."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pydantic import ValidationError

from catenary.errors import CatenaryError, InvalidValue, NotFound
from experiments.evaluation import catalog


def pictures(name: str, results: Path) -> list[Path]:
    """Draw them in `results`, and say which there are.

    Raises `NotFound` if these are not the results of a run with its tables, `InvalidValue` that names a
    summary that is another experiment's, or can't be read.
    """
    item, summary = catalog.evaluation(name), results / "summary.json"
    for path in (summary, results / "data"):
        if not path.exists():
            raise NotFound(f"no {path}: run `make experiment NAME={name}` first, or name another folder")
    try:
        content = json.loads(summary.read_text())
        if content["name"] != name:
            raise InvalidValue(f"{summary} is of {content['name']}, not of {name}: name another folder")
        item.draw(results, item.kind.model_validate(content["parameters"]))
    except (KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
        raise InvalidValue(f"{results} has no results of {name} ({error!r}): run it again") from None
    return sorted(results.glob("*.png"))


def main(name: str) -> None:
    """The command of the experiment's plot.py."""
    module = f"{catalog.evaluation(name).module}.plot"
    default = Path("results") / name
    parser = argparse.ArgumentParser(
        prog=module,
        description=f"Draw the pictures of {name} again, from the tables that a run has exported.",
        epilog=f"examples:\n  python -m {module}\n  python -m {module} {default}/quick",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "results", nargs="?", type=Path, default=default, metavar="DIR", help=f"default: {default}"
    )
    try:
        drawn = pictures(name, parser.parse_args().results)
    except CatenaryError as error:
        print(f"{name}: {error.detail}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"drawn: {', '.join(map(str, drawn))}")
