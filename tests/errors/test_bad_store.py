"""`catenary ms run` on a database that is damaged: a real process, and what the commands say of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catenary.client import ManagementClient
from catenary.errors import CatenaryError
from tests.serving import free_port
from tests.unit.mgmt_commands import run_command
from tests.unit.mgmt_fakes import Site, network_text
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

PROGRAM = "from catenary.cli import main; main()"
CHAINS = [f"c{number}" for number in range(50)]


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, *, kill: bool = False) -> Iterator[Path]:
    """A management system on ms.db in this folder, under the commands; its log. It ends by SIGTERM, or by
    SIGKILL."""
    port, log = free_port(), Path("ms.log")
    options = ["--network", "network.yaml", "--db", "ms.db", "--port", str(port), "--log-format", "json"]
    monkeypatch.setenv("CATENARY_URL", f"http://127.0.0.1:{port}")
    with log.open("ab") as output:
        argv = [sys.executable, "-c", PROGRAM, "ms", "run", *options]
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or is_up(), "management system is not up")
        assert process.poll() is None, log.read_text()
        yield log
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        assert process.wait(PATIENCE_S) == (-signal.SIGKILL if kill else 0), log.read_text()
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def is_up() -> bool:
    try:
        with ManagementClient.from_environment() as client:
            return bool(client.health())
    except CatenaryError:
        return False


@pytest.mark.parametrize(
    ("what", "verdict"),
    [
        ("nine tenths of one", "database disk image is malformed"),
        ("the network file", "file is not a database"),
    ],
)
def test_reads_go_on_and_every_change_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    what: str,
    verdict: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("network.yaml").write_text(network_text())
    site = Site(Path("ms.db"))
    for name in CHAINS:
        site.add("shared", name=name)
    site.close()
    capsys.readouterr()  # what it logged
    whole = Path("ms.db").read_bytes()
    left = what == "nine tenths of one"
    broken = whole[: len(whole) * 9 // 10] if left else Path("network.yaml").read_bytes()
    Path("ms.db").write_bytes(broken)
    text = (
        f"database ms.db is damaged or no database ({verdict}), so nothing is changed: keep what catenary "
        "export says now, stop the management system, put a backup in its place with catenary restore BACKUP "
        "--db ms.db, and start it again; without a backup move it away with its log, and apply what was "
        "exported to a new one"
    )

    def run(*words: str) -> tuple[int, str, str]:
        code = run_command(monkeypatch, *words)
        return code, *capsys.readouterr()

    with running(monkeypatch) as log:
        assert f'"fault": "{text}"' in log.read_text()
        for words in (
            ("chain", "add", "--nf", "n1"),
            ("chain", "remove", "c1"),
            ("chain", "cordon", "c1"),
            ("rebalance",),
        ):
            assert run(*words) == (3, "", f"catenary: {text}\n")
        code, shown, _ = run("chain", "list", "--json")
        assert code == 0
        assert ('"name": "c' in shown) == left
        code, shown, _ = run("history", "--json")
        assert code == 0
        assert ('"kind":"add"' in shown) == left
        code, shown, _ = run("status", "--json")
        assert code == 0
        assert f'"reason": "{text}"' in shown
        for words in (("chain", "list"), ("history",), ("status",), ("operation", "list"), ("export",)):
            assert run(*words)[0] == 0, words
        assert Path("ms.db").read_bytes() == broken
    assert Path("ms.db").read_bytes() == broken
    assert not Path("ms.db-wal").exists()
    Path("ms.db").write_bytes(whole)
    with running(monkeypatch):
        assert run("chain", "add", "--nf", "shared", "--name", "later", "--no-wait")[0] == 0
        assert all(f'"name": "{name}"' in run("chain", "list", "--json")[1] for name in (CHAINS[0], "later"))
