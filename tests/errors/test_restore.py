"""`catenary backup` and `restore` with a real management system: under changes, killed, and set back."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from catenary.client import ManagementClient
from catenary.wire import ChainRequest
from tests.errors.test_bad_store import running
from tests.unit.mgmt_commands import run_command
from tests.unit.mgmt_fakes import network_text
from topologies.services import wait_until


def test_a_backup_under_changes_is_restored_after_a_kill(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("network.yaml").write_text(network_text())
    accepted: list[str] = []
    over = threading.Event()

    def add() -> None:
        with ManagementClient.from_environment() as client:
            while not over.is_set():
                accepted.append(client.add_chain(ChainRequest(nfs=["shared"])).chain)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return run_command(monkeypatch, *words), *capsys.readouterr()

    def names() -> list[str]:
        with ManagementClient.from_environment() as client:
            return [chain.name for chain in client.chains()]

    with running(monkeypatch, kill=True):
        adding = threading.Thread(target=add)
        adding.start()
        try:
            wait_until(lambda: len(accepted) > 20, "no chain is accepted")
            before = len(accepted)
            code, out, err = run("backup", "backup", "--json")
            after = len(accepted)
            wait_until(lambda: len(accepted) > after + 5, "no chain is accepted after the backup")
            assert (code, err) == (0, "")
            chains = json.loads(out)["chains"]
            # What was acknowledged before is in it; the last may be in it before it is acknowledged.
            assert before <= chains <= after + 1
            code, _, err = run("restore", "backup", "--db", "ms.db")
            assert (code, "ms.db is in use by another management system" in err) == (2, True)
        finally:
            over.set()
            adding.join()
    assert Path("ms.db-wal").exists()
    code, out, err = run("restore", "backup", "--db", "ms.db", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["kept"] == ["ms.db.replaced-1", "ms.db.replaced-1-wal"]
    with running(monkeypatch):
        assert names() == accepted[:chains]
        with ManagementClient.from_environment() as client:
            assert [entry.text for entry in client.history(kind="restore")] == ["from backup backup"]
    Path("ms.db").rename("aside")
    code, _, err = run("restore", "ms.db.replaced-1", "--db", "ms.db")
    assert (code, err) == (0, "")
    with running(monkeypatch):
        assert names() == accepted
