"""`catenary ms run` on a database that can't be used: its exact text, exit code 2, and the file as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.mgmt_commands import run_command
from tests.unit.mgmt_fakes import network_text
from tests.unit.test_mgmt_bad_store import database

WAY_OUT = (
    "put a backup in its place, or move it away, start with a new one, and add the chains as the "
    "controller has them: curl CONTROLLER/v1/chains"
)


@pytest.mark.parametrize(
    ("what", "verdict"),
    [
        ("half of one", "database disk image is malformed"),
        ("the network file", "file is not a database"),
    ],
)
def test_the_management_system_does_not_start_on_a_database_that_is_damaged(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    what: str,
    verdict: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("network.yaml").write_text(network_text())
    whole = database(tmp_path / "ms.db")
    broken = whole[: len(whole) // 2] if what == "half of one" else Path("network.yaml").read_bytes()
    Path("ms.db").write_bytes(broken)
    assert run_command(monkeypatch, "ms", "run", "--network", "network.yaml", "--db", "ms.db") == 2
    text = f"catenary: database ms.db is damaged or no database ({verdict}): {WAY_OUT}\n"
    assert capsys.readouterr().err == text
    assert Path("ms.db").read_bytes() == broken
