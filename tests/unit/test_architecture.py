"""The architecture is a test, not a wish: the import rules of docs/ARCHITECTURE.md, from setup.cfg."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST_MODULE = 400  # lines; what grows beyond it has two jobs


def test_the_rules_of_imports_hold() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_that_is_installed_is_listed() -> None:
    """setup.cfg names packages one by one; a forgotten one would only be missed by an installed user."""
    listed = set((ROOT / "setup.cfg").read_text().split("packages =")[1].split("python_requires")[0].split())
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("catenary", "controller", "lb_adapter", "mgmt_system", "witness")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert found == listed


def test_no_module_is_longer_than_one_sitting() -> None:
    tops = ("catenary", "controller", "lb_adapter", "mgmt_system", "witness", "topologies", "experiments")
    for top in tops:
        for path in (ROOT / top).rglob("*.py"):
            name, lines = str(path.relative_to(ROOT)), len(path.read_text().splitlines())
            assert lines <= LONGEST_MODULE, f"{name} has {lines} lines: split it"
