"""Capabilities are given up for good, by a process and what it starts; or by the process alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import subprocess
from catenary import capabilities
capabilities.keep("CAP_NET_RAW", programs={programs})
print(*capabilities.held(), flush=True)
print(open("/proc/self/status").read().partition("CapBnd:")[2].split()[0], flush=True)
subprocess.run(["grep", "-E", "CapPrm|NoNewPrivs", "/proc/self/status"])
"""


@pytest.mark.parametrize("programs", [False, True])
def test_a_process_keeps_what_it_names_and_its_programs_no_more_unless_they_may(programs: bool) -> None:
    """Of root, whose programs would else get all that root may have."""
    script = SCRIPT.format(programs=programs)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "capabilities given up" in done.stdout, done.stderr
    held, bound, *theirs = done.stdout.splitlines()[1:]
    fields = dict(line.split() for line in theirs)
    only = 1 << 13
    assert held == "CAP_NET_RAW"
    assert (int(bound, 16) == only) != programs
    assert (int(fields["CapPrm:"], 16) == only) != programs
    assert fields["NoNewPrivs:"] == ("0" if programs else "1")
