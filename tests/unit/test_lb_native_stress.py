"""The session table of the user-space data planes under threads that race; see `native_stress.c`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from topologies.patience import PATIENCE_S

HERE = Path(__file__).parent
LB = HERE.parent.parent / "lb_adapter"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-pthread")


def test_no_key_is_pinned_twice_and_no_sum_is_lost(tmp_path: Path) -> None:
    program = tmp_path / "stress"
    include = (f"-I{LB / 'native'}", f"-I{LB / 'core'}")
    subprocess.run(["gcc", *FLAGS, *include, str(HERE / "native_stress.c"), "-o", str(program)], check=True)
    done = subprocess.run([str(program), "1000"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 faults" in done.stdout
