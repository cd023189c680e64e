"""Runs `controller_cases.py` in a namespace of its own, of which nothing is left even when this is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.isolation import TEST_S
from topologies import namespaces

CASES = Path(__file__).with_name("controller_cases.py")


def test_controller_with_real_switches() -> None:
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(CASES)]
    process = namespaces.popen(pytest, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = process.communicate(timeout=TEST_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
