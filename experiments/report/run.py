"""One self-contained HTML page from all results.

python -m experiments.report.run [--results DIR] [--to FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from catenary.errors import CatenaryError
from experiments.evaluation.repeat import Status
from experiments.report.results import Result, collect, shared

_COLOURS = {Status.OK: "good", Status.NOT_REACHED: "bad", Status.NOISY: "warn", Status.INTERRUPTED: "warn"}
_EXAMPLES = """\
examples:
  python -m experiments.report.run                        results/report.html, from results/
  python -m experiments.report.run --to /tmp/report.html
"""


def page(results: Sequence[Result], made: str) -> str:
    """The page. Everything it shows is in it: pictures too, and it has no script."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    found: str = templates.get_template("page.html").render(
        results=results, shared=shared(results), colours=_COLOURS, made=made
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="experiments.report.run",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--to", type=Path, metavar="FILE", help="default: report.html in the results")
    arguments = parser.parse_args()
    to: Path = arguments.to or arguments.results / "report.html"
    try:
        results = collect(arguments.results)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(page(results, time.strftime("%Y-%m-%d")))
    except CatenaryError as error:
        print(f"report: {error.detail}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"report: {to} can't be written: {error.strerror}; name another file by --to", file=sys.stderr)
        sys.exit(2)
    print(f"written: {to} ({len(results)} experiments)")


if __name__ == "__main__":
    main()
