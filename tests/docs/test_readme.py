"""The README's quick start works as it is written: its commands are taken from the page and run.

`make test` would run this test again, so that command is narrowed to the architecture test; `make demo` runs
with phases of 7 s (`DEMO_ARGS=--brief`, see experiments/demo/README.md). Both go through the Makefile.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.docs.making import ROOT, last, make

README = (ROOT / "README.md").read_text()
NARROWED = {
    "make demo": {"DEMO_ARGS": "--brief --results {results}"},
    "make test": {"TESTS": "-q tests/unit/test_architecture.py"},
}


def quick_start() -> list[str]:
    """The commands of the blocks that are marked as the quick start."""
    blocks = re.findall(r"^```sh quickstart\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def run(command: str, results: Path) -> tuple[int, str]:
    return make(command, {key: value.format(results=results) for key, value in NARROWED[command].items()})


def test_the_quick_start_has_the_commands_that_are_tested_here() -> None:
    assert quick_start() == list(NARROWED)


@pytest.mark.skipif(missing("e2e") is not None, reason=f"make demo: {missing('e2e')}")
def test_make_demo_reaches_its_figures(tmp_path: Path) -> None:
    status, output = run("make demo", tmp_path)
    assert status == 0, last(output)
    assert re.search(r"^dashboard: http://127.0.0.1:\d+ ", output, re.MULTILINE), output
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["name"], summary["ok"]) == ("demo", True)
    for key in ("violations", "bypassed", "witness_dropped", "failed_requests", "leftovers"):
        assert summary["figures"][key]["value"] == 0
    for picture in ("throughput.png", "share.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(os.geteuid() != 0, reason="make test installs packages: needs root")
def test_make_test_runs_tests(tmp_path: Path) -> None:
    status, output = run("make test", tmp_path)
    assert status == 0, last(output)
    assert re.search(r"\d+ passed", output)


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(map(str, (ROOT / "docs").rglob("*.md")))]
)
def test_every_link_leads_somewhere(page: str) -> None:
    path = ROOT / page
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text()):
        there = path.parent / target if target else path
        assert there.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_every_target_of_the_makefile_that_the_docs_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for name in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert name in targets, f"{page.name} names `make {name}`"
