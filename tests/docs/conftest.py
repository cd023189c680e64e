"""What readers of the documentation have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As a user has it, with a testbed of this test's own."""
    handed_down = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "TESTS")
    mine = {key: value for key, value in os.environ.items() if key not in handed_down}
    return mine | {"CATENARY_TESTBED": str(tmp_path / "testbed.json")}
