"""Runs `broken_runs_cases.py` in namespaces of their own, of which nothing is left when killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.isolation import TEST_S
from topologies import namespaces

CASES = Path(__file__).with_name("broken_runs_cases.py")


def test_the_witness_on_broken_runs() -> None:
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    process = namespaces.popen(pytest, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=TEST_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
