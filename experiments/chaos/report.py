"""What a run saw without each rule, as rows of the table in docs/reliability.md.

python -m experiments.chaos.report [SUMMARY]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catenary.errors import CatenaryError, InvalidValue
from experiments.chaos.rules import BASELINE, RULES

SUMMARY = Path("results/chaos/summary.json")
_EXAMPLES = """\
examples:
  python -m experiments.chaos.report                        of the last run
  python -m experiments.chaos.report /tmp/run/summary.json  of another one
"""


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The Markdown table of all rules from a summary's figures; raises `InvalidValue` if one has none."""
    missing = [name for name in RULES if f"without_{name}" not in figures]
    if missing:
        raise InvalidValue(f"no figure of {', '.join(missing)}: run the simulator's part, too")
    rows = [_row(name, figures[f"without_{name}"]) for name in RULES]
    return "\n".join(["| without the rule | that is | seen |", "|---|---|---|", *rows])


def _row(name: str, figure: Mapping[str, Any]) -> str:
    what, sessions = re.findall(r"(crossed|lost|packets cut), of (\d+)", figure["unit"])[0]
    told = RULES[name].text + (" (the paper's Algorithm 1)" if name == BASELINE else "")
    return f"| `{name}` | {told} | {figure['value']:,} {what}, of {int(sessions):,} sessions |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="experiments.chaos.report",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("summary", nargs="?", type=Path, default=SUMMARY, metavar="SUMMARY")
    path = parser.parse_args().summary
    try:
        print(table(_figures(path)))
    except CatenaryError as error:
        print(f"{path}: {error.detail}", file=sys.stderr)
        sys.exit(error.exit_code)


def _figures(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        figures: dict[str, dict[str, Any]] = json.loads(path.read_text())["figures"]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidValue(f"it can't be read ({error}): `make chaos` writes it") from error
    return figures


if __name__ == "__main__":
    main()
