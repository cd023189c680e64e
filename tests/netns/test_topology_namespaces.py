"""Namespaces and the private Open vSwitch: they come up, answer, and leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from catenary.errors import InvalidValue, Unsupported
from tests.isolation import isolated
from topologies import namespaces
from topologies.ovs import OpenVSwitch
from topologies.patience import PATIENCE_S

Eventually = Callable[..., None]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    with namespaces.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def processes_with(text: str) -> list[int]:
    """Processes of this host whose command line holds `text`."""
    found = subprocess.run(["pgrep", "-f", "--", text], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split() if int(pid) != os.getpid()]


def test_inside_is_only_loopback_and_loss_based_tcp() -> None:
    setting = "/proc/sys/net/ipv4/tcp_congestion_control"
    done = run("sh", "-c", f"ip -o link | wc -l; ip -o link show up | wc -l; cat {setting}")
    links, up, congestion_control = done.stdout.split()
    assert (links, up) == ("1", "1")
    assert congestion_control in ("cubic", "reno")


@pytest.mark.parametrize("command, status", [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9)])
def test_the_commands_status_is_the_launchers(command: str, status: int) -> None:
    assert run("sh", "-c", command).returncode == status


def test_sigterm_reaches_the_command(unique: str) -> None:
    script = f"trap 'echo stopped {unique}; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    with namespaces.popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == f"stopped {unique}\n"
        assert process.wait(PATIENCE_S) == 3


def test_sigkill_leaves_no_process(unique: str, eventually: Eventually) -> None:
    # Its own session and parent: what a signal to the launcher's group or child would not reach.
    script = f"setsid sh -c 'while :; do sleep 0.05; done; : {unique}' & echo ready; wait"
    with namespaces.popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert processes_with(unique)
        process.send_signal(signal.SIGKILL)
    eventually(lambda: not processes_with(unique), what="the end of all processes")


def test_isolated_is_known_inside_and_not_outside() -> None:
    program = "from topologies import namespaces; namespaces.require_isolated()"
    assert run(sys.executable, "-c", program).returncode == 0
    if not namespaces.isolated():
        with pytest.raises(Unsupported, match="network namespace"):
            namespaces.require_isolated()


@isolated
def test_links_are_taken_along(unique: str) -> None:
    name = f"v{unique}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"w{unique}"], check=True)
    program = (
        "import socket; from topologies import namespaces\n"
        f"namespaces.isolate(['{name}']); print(socket.if_nameindex())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CATENARY_NAMESPACE"}
    output = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert name in output
    with pytest.raises(subprocess.CalledProcessError):  # gone with that namespace
        subprocess.run(["ip", "link", "show", name], check=True, capture_output=True)


def test_a_link_that_is_not_there_is_refused_by_name() -> None:
    program = "from topologies import namespaces; namespaces.isolate(['nosuch0'])"
    environment = {key: value for key, value in os.environ.items() if key != "CATENARY_NAMESPACE"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert InvalidValue.__name__ in done.stderr
    assert "'nosuch0'" in done.stderr


@isolated
def test_open_vswitch_starts_answers_and_leaves_nothing(tmp_path: Path) -> None:
    switch = OpenVSwitch(tmp_path / "ovs")
    with switch:
        assert switch.running()
        switch.add_bridge("s1")
        switch.ofctl("add-flow", "s1", "priority=7,actions=drop")
        flows = switch.flows("s1")
        assert len(flows) == 1
        assert "priority=7 actions=drop" in flows[0]
    assert not switch.running()
    links = subprocess.check_output(["ip", "-o", "link"], text=True).splitlines()
    assert len(links) == 1, links


@isolated
def test_open_vswitch_starts_again_with_its_bridges(tmp_path: Path) -> None:
    switch = OpenVSwitch(tmp_path / "ovs")
    with switch:
        switch.add_bridge("s1")
    with switch:
        assert switch.vsctl("list-br").split() == ["s1"]


def test_two_instances_run_side_by_side(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from topologies.ovs import OpenVSwitch\n"
        "with OpenVSwitch(Path(sys.argv[1])) as s: s.add_bridge('s1'); s.ofctl('show', 's1')"
    )
    argv = [sys.executable, "-c", program]
    both = [namespaces.popen([*argv, str(tmp_path / name)]) for name in ("a", "b")]
    assert [process.wait(PATIENCE_S) for process in both] == [0, 0]
