"""The testbed's wires, firewalls and switches by themselves, with fixed OpenFlow rules for chains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e import static_chains
from tests.isolation import isolated
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import Transfers, WebServer, ping

Eventually = Callable[..., None]
ROOT = Path(__file__).resolve().parents[2]


def fetch(testbed: Testbed, web: WebServer, name: str, sessions: int, timeout: float) -> tuple[int, int]:
    """Requests answered and failed, of `sessions` over both families, each given `timeout` s."""
    urls = [web.url("20k"), web.url("20k", 6)]
    load = Transfers(testbed.hosts["h1"], urls, name=name, parallel=4, sessions=sessions, timeout=timeout)
    with load:
        result = load.wait(PATIENCE_S)
    return result.requests, result.failures


@isolated
def test_a_session_that_sees_two_firewalls_breaks_and_others_do_not() -> None:
    with Testbed(services=False) as testbed, WebServer(testbed.hosts["h2"]) as web:
        h1, server = testbed.hosts["h1"], testbed.hosts["h2"].address()
        static_chains.install(testbed, 3)
        assert ping(h1, server) == 3
        assert ping(h1, testbed.hosts["h2"].address(6)) == 3
        assert fetch(testbed, web, "three", 60, PATIENCE_S) == (60, 0)
        opened = {name: firewall.counters().opened for name, firewall in testbed.firewalls.items()}
        assert all(opened.values()), opened

        static_chains.install(testbed, 1, reverse_by=1)
        assert ping(h1, server, count=2, timeout=0.3) == 0
        assert fetch(testbed, web, "crossed", 8, 1.0) == (0, 8)
        assert testbed.firewalls["n2"].counters().dropped > 0

        static_chains.install(testbed, 1)
        assert fetch(testbed, web, "restored", 8, PATIENCE_S) == (8, 0)
        # What a test leaves in the switches is told.
        assert any("push_vlan" in line for line in testbed.leftovers())
    assert testbed.lasting_leftovers() == []


@isolated
def test_the_firewalls_rate_is_the_chains_capacity() -> None:
    with Testbed(services=False, nf_rate_mbit=16) as testbed, WebServer(testbed.hosts["h2"]) as web:
        static_chains.install(testbed, 1)
        load = Transfers(testbed.hosts["h1"], web.url("500k"), name="load", parallel=4, sessions=16)
        with load:
            result = load.wait(PATIENCE_S)
    assert result.failures == 0
    assert result.throughput * 8 / 1e6 < 17
    # In its best second: a busy machine stretches the last sessions, not the rate.
    assert max(result.per_second) * 8 / 1e6 > 12


def test_sigkill_of_the_testbed_leaves_nothing(tmp_path: Path, eventually: Eventually) -> None:
    with command(tmp_path / "run") as (process, namespace):
        assert len(members(namespace)) > 10
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    eventually(lambda: not members(namespace), what="the end of all of the testbed's processes")
    left = subprocess.run(["pgrep", "-f", "--", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_sigterm_ends_the_testbed_in_order(tmp_path: Path) -> None:
    with command(tmp_path / "run") as (process, namespace):
        process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert not members(namespace)


@contextmanager
def command(run_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m topologies.testbed`, up, and its network namespace; killed at the end."""
    environment = {key: value for key, value in os.environ.items() if key != "CATENARY_NAMESPACE"}
    argv = [sys.executable, "-m", "topologies.testbed", "--run-dir", str(run_dir)]
    process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        while "Up." not in (line := process.stdout.readline()):
            assert line, "the testbed has not come up"
        yield process, os.readlink(f"/proc/{process.pid}/ns/net")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def members(namespace: str) -> list[str]:
    """The processes of this host in a network namespace."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        # Others' processes can't be looked into, and none of them is ours; some have ended meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.readlink(entry / "ns" / "net") == namespace:
                found.append(entry.name)
    return found
