"""How much of the C core the vectors, scenarios and hypothesis' frames reach, and what they would notice."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from lb_adapter.core.check import CORE, Core
from tests.vectors.mutants import MUTANTS, Mutant, caught_by, compile_mutant

WANTED = 0.95
HEADERS = ("classify.h", "key.h", "parse.h", "pin.h", "place.h", "probe.h", "reset.h", "splice.h", "upkeep.h")
ROOT = CORE.parent.parent
# Each function once, so that a branch is a line of the page and not one of its many inlined copies.
FLAGS = ("-O0", "--coverage", "-fprofile-abs-path", "-DINLINE=static __attribute__((unused))")
_RUN = """
import sys
from pathlib import Path
from lb_adapter.core.check import Core, build
from tests.vectors.mutants import caught_by, met_a_rival, met_dead_mark
from hypothesis import seed
from tests.vectors import test_conformance as conformance
core = Core(build(Path(sys.argv[1]), flags=sys.argv[2:]))
assert not caught_by(core), caught_by(core)
met_dead_mark(core)
met_a_rival(core)
seed(1)(conformance.compare_over_time)(core)
"""
"""The same frames each time: what is reached is not to depend on luck."""


@dataclass(frozen=True)
class Reached:
    taken: int
    branches: int
    missed: tuple[str, ...]


def measure(folder: Path) -> dict[str, Reached]:
    """Branches of each header that the suite takes; what it misses as `key.h:123`."""
    environment = {**os.environ, "CATENARY_CONFORMANCE_FRAMES": "2000"}
    subprocess.run([sys.executable, "-c", _RUN, str(folder), *FLAGS], cwd=ROOT, env=environment, check=True)
    notes = sorted(folder.glob("*.gcda"))
    assert notes, "the instrumented library left no counts"
    command = ["gcov", "--json-format", "--branch-probabilities", *map(str, notes)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    lines: dict[str, dict[int, list[int]]] = {name: defaultdict(list) for name in HEADERS}
    for path in folder.glob("*.gcov.json.gz"):
        for file in json.loads(gzip.decompress(path.read_bytes()))["files"]:
            name = Path(file["file"]).name
            for line in file["lines"] if name in HEADERS else []:
                lines[name][line["line_number"]] += [branch["count"] for branch in line["branches"]]
    result = {}
    for name, counted in lines.items():
        counts = [count for branches in counted.values() for count in branches]
        missed = tuple(f"{name}:{number}" for number, counts in sorted(counted.items()) if 0 in counts)
        result[name] = Reached(sum(count > 0 for count in counts), len(counts), missed)
    return result


def test_branches_of_the_core(tmp_path: Path) -> None:
    reached = measure(tmp_path)
    taken, branches = sum(r.taken for r in reached.values()), sum(r.branches for r in reached.values())
    missed = [line for r in reached.values() for line in r.missed]
    print(f"{taken} of {branches} branches ({taken / branches:.1%}); missed: {', '.join(missed) or 'none'}")
    for name, r in reached.items():
        print(f"  {name}: {r.taken} of {r.branches}")
    assert branches > 400
    assert taken / branches >= WANTED, missed


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_mutant_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    by = caught_by(compile_mutant(mutant, tmp_path))
    assert by, f"no vector and no scenario notices that {mutant.name}"
    print(f"{mutant.name}: caught by {by!r}")


def test_the_core_itself_passes(core: Core) -> None:
    assert caught_by(core) == ""
