"""Runs a make target as a user would, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make(command: str, variables: Mapping[str, str], timeout: float = 1200) -> tuple[int, str]:
    """Its exit status, and all that it printed."""
    # A make above this test must not hand its own TESTS down: it would win, and run this test again.
    mine = {
        key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    }
    process = subprocess.Popen(
        command.split(),
        cwd=ROOT,
        env={**mine, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:  # too slow, or this test was interrupted: nothing may be left running
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    return process.returncode, output


def last(output: str, lines: int = 40) -> str:
    """Its end, which says what was not reached: a report of failures may keep less than all of it."""
    return "\n".join(output.splitlines()[-lines:])
