"""`catenary ms run` on a real disk that fills up: it says so, serves reads, loses nothing, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catenary.client import ManagementClient
from catenary.errors import CatenaryError, InsufficientStorage
from catenary.wire import ChainRequest
from tests.isolation import isolated
from tests.small_disk import fill, mounted
from tests.unit.mgmt_fakes import network_text
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

PROGRAM = "from catenary.cli import main; main()"


def start(disk: Path) -> subprocess.Popen[bytes]:
    options = ["--network", str(disk.parent / "network.yaml"), "--db", str(disk / "ms.db")]
    log = (disk.parent / "ms.log").open("ab")
    argv = [sys.executable, "-c", PROGRAM, "ms", "run", *options]
    process = subprocess.Popen(argv, stdout=log, stderr=log, env=os.environ | {"TMPDIR": str(disk)})
    wait_until(lambda: process.poll() is not None or is_up(), "management system is not up")
    assert process.poll() is None, (disk.parent / "ms.log").read_text()
    return process


def is_up() -> bool:
    try:
        with ManagementClient() as client:
            return bool(client.health())
    except CatenaryError:
        return False


def add_until_it_is_full(client: ManagementClient, accepted: list[str]) -> None:
    def add() -> None:
        for _ in range(1000):
            accepted.append(client.add_chain(ChainRequest(nfs=["shared"])).chain)

    with pytest.raises(InsufficientStorage, match=r"ms\.db can't be written: its disk is full; make room"):
        add()


def names(client: ManagementClient) -> list[str]:
    return [chain.name for chain in client.chains()]


@isolated
def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text(network_text())
    disk = mounted(tmp_path / "disk")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    accepted: list[str] = []
    process = start(disk)
    try:
        with ManagementClient() as client:
            accepted.append(client.add_chain(ChainRequest(nfs=["n1"])).chain)
            assert b"".join(client.backup()).startswith(b"SQLite format 3")
            filler = fill(disk)
            add_until_it_is_full(client, accepted)
            with pytest.raises(InsufficientStorage, match=rf"can't be copied to {disk}: its disk is full"):
                b"".join(client.backup())
            assert names(client) == accepted
            assert [entry.chain for entry in client.history(kind="add")] == accepted
            assert "its disk is full" in str(client.health().reason)
            filler.unlink()
            wait_until(lambda: "disk" not in str(client.health().reason), "it does not go on")
            accepted.append(client.add_chain(ChainRequest(nfs=["n2"])).chain)
            filler = fill(disk)
            add_until_it_is_full(client, accepted)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        process = start(disk)  # there is still no room
        with ManagementClient() as client:
            assert names(client) == accepted
            filler.unlink()
            accepted.append(client.add_chain(ChainRequest(nfs=["n3"])).chain)
            assert names(client) == accepted
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "ms.log").read_text()
    finally:
        process.kill()
        process.wait(PATIENCE_S)
