"""The paper's hybrid form: the master load balancer is a machine outside, on two network interfaces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catenary.errors import InvalidValue
from tests.isolation import isolated
from topologies.hosts import Host
from topologies.patience import PATIENCE_S
from topologies.testbed import Testbed
from topologies.traffic import Transfers, WebServer
from topologies.wiring import Attachment

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"em1": "outer", "em2": "inner", "em3": "control"}


@contextmanager
def machine(logs: Path) -> Iterator[Host]:
    """A network namespace at the other ends of three cables: em1, em2 and em3 are here, the rest is there."""
    process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
    try:
        here = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{process.pid}/ns/net") == here:
            assert process.poll() is None
        host = Host("outside", process.pid, logs)
        host.run(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
        for port, peer in PORTS.items():
            link = f"ip link add {port} type veth peer name {peer} netns {process.pid}"
            subprocess.run(link.split(), check=True)
            host.run(["ip", "link", "set", peer, "up"])
        host.run(["ip", "addr", "add", "10.255.0.11/24", "dev", "control"])
        yield host
    finally:
        process.kill()
        process.wait()


def balancer(host: Host, run_dir: Path) -> subprocess.Popen[str]:
    """The command of a master's machine, with what the testbed's run directory holds for it."""
    secrets = run_dir / "credentials"
    token, ca = str(secrets / "token"), str(secrets / "ca.pem")
    argv = [sys.executable, "-c", "from lb_adapter.cli import app; app()", "lb", "run", "--role", "master"]
    argv += [
        "--outer",
        "outer",
        "--inner",
        "inner",
        "--host",
        "10.255.0.11",
        "--tokens",
        str(secrets / "tokens"),
    ]
    argv += ["--tls-cert", str(secrets / "l1.pem"), "--tls-key", str(secrets / "l1.key")]
    argv += ["--tls-ca", ca, "--peer", "https://10.255.0.12:8082", "--peer-token-file", token]
    return host.popen(argv, log="outside-l1", env={**os.environ, "PYTHONPATH": str(ROOT)})


@isolated
def test_traffic_crosses_a_load_balancer_outside(tmp_path: Path) -> None:
    with machine(tmp_path) as outside:
        attach = [Attachment.parse("l1=em1,em2")]
        with Testbed(run_dir=tmp_path / "run", attach=attach, control_port="em3") as testbed:
            assert testbed.network.balancers["l1"].outer == "em1"
            assert "l1" not in testbed.hosts
            process = balancer(outside, testbed.run_dir)
            try:
                testbed.wait_for_balancers()
                testbed.add_chain(["n3"])
                with WebServer(testbed.hosts["h2"]) as web:
                    urls = [web.url("100k"), web.url("100k", 6)]
                    load = Transfers(testbed.hosts["h1"], urls, name="load", parallel=4, sessions=20)
                    with load:
                        result = load.wait(PATIENCE_S)
            finally:
                process.kill()
                process.wait()
        assert (result.requests, result.failures) == (20, 0)
        assert set(PORTS) <= set(os.listdir("/proc/sys/net/ipv4/conf"))


@isolated
def test_an_interface_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(InvalidValue, match="'nosuch0'"), Testbed(attach=[Attachment.parse("l1=nosuch0,lo")]):
        pass
