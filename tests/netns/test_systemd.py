"""The units: systemd's own check of them, and what they promise it, at a notify socket as systemd's is.

systemd does not run here: `setpriv` gives a load balancer the capabilities that its unit leaves it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer

from catenary import cli, program, wire
from catenary.part_clients import BalancerClient
from lb_adapter.process import RIGHTS
from tests.isolation import isolated
from tests.netns.controller_world import NETWORK
from tests.netns.pair import Session, wire_up
from tests.netns.rights import check_rights
from topologies.namespaces import mount_bpffs
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
INSTALLED = "/opt/catenary/bin/catenary"
NAMES = sorted(unit.name for unit in UNITS.glob("*.service"))
EXPOSURE = {"catenary-controller.service": 20, "catenary-ms.service": 20, "catenary-lb@.service": 40}
"""The most that systemd-analyze may count, in tenths: 100 is a unit without any limits."""
BOUNDS = re.compile("^CapabilityBoundingSet=(CAP.*)$", re.MULTILINE)
ALIVE = "WATCHDOG=1"
ADD = wire.Change(add=[wire.PairAdd(forward=2, reverse=3)])


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """With the program that there is here."""
    for name in NAMES:
        text = (UNITS / name).read_text().replace(INSTALLED, str(Path(sys.executable).with_name("catenary")))
        (tmp_path / name).write_text(text)
    return tmp_path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: run `make test`, or tools/install.sh test")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_has_no_complaint(units: Path, name: str) -> None:
    done = analyze("verify", "--man=no", "--recursive-errors=no", str(units / name.replace("@", "@main")))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_leaves_its_service_little(units: Path, name: str) -> None:
    limit = f"--threshold={EXPOSURE[name]}"
    done = analyze("security", "--offline=yes", "--no-pager", limit, str(units / name))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_units_give_options_that_there_are() -> None:
    example = (UNITS / "lb-main.env").read_text().partition("CATENARY_OPTIONS=")[2]
    command: Any = typer.main.get_command(cli.build())
    for name in NAMES:
        line = re.search(rf"^ExecStart={INSTALLED} (.*)$", (UNITS / name).read_text(), re.MULTILINE)
        assert line
        options = example if name.startswith("catenary-lb") else ""
        words = line[1].replace("%i", "main").replace("$CATENARY_OPTIONS", options).split()
        inside, context = command, typer.Context(command)
        for word in words[:2]:
            inside = inside.get_command(context, word)
        inside.make_context(word, words[2:])  # it refuses others


class Supervised:
    """A service, and what it tells its systemd."""

    def __init__(self, folder: Path, package: str, words: Sequence[str], through: Sequence[str] = ()) -> None:
        self._heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        threading.Thread(target=self._listen, daemon=True).start()
        ours = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"}
        self.process = subprocess.Popen([*through, *program.argv(package, words)], env={**os.environ, **ours})

    def _listen(self) -> None:
        while True:
            self._heard.append(self._socket.recv(4096).decode())

    def wait_heard(self, times: int) -> None:
        def said() -> bool:
            assert self.process.poll() is None, f"it has ended: {self._heard}"
            return len(self._heard) >= times

        wait_until(said, f"it has not said {times} things")

    def end(self) -> None:
        """It was ready, lived, and says that it stops."""
        self.wait_heard(4)
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) == 0
        wait_until(lambda: self._heard[-1] != ALIVE, "it does not say that it stops")
        first, *between, last = self._heard
        assert first.startswith("READY=1\nSTATUS=serving on 127.0.0.1:")
        assert (set(between), last) == ({ALIVE}, "STOPPING=1")


@contextmanager
def supervised(package: str, words: Sequence[str], through: Sequence[str] = ()) -> Iterator[Supervised]:
    with TemporaryDirectory() as folder:
        service = Supervised(Path(folder), package, words, through)
        try:
            yield service
        finally:
            service.process.kill()
            service.process.wait()


@isolated
def test_management_system_and_controller_tell_systemd() -> None:
    folder = Path("/run/catenary")
    network = folder / "network.json"
    network.write_text(json.dumps(NETWORK))
    with (
        supervised("controller", ["controller", "run", "--network", str(network)]) as controller,
        supervised("mgmt_system", ["ms", "run", "--network", str(network), "--db", f"{folder}/ms.db"]) as ms,
    ):
        for service in (controller, ms):
            service.wait_heard(1)
            check_rights(service.process.pid, (), ())
            service.end()


@isolated
def test_a_pair_works_with_the_capabilities_of_its_unit() -> None:
    """Two data planes, which need different ones."""
    bounds = BOUNDS.search((UNITS / "catenary-lb@.service").read_text())
    assert bounds
    kept = [f"+{name.lower().removeprefix('cap_')}" for name in bounds[1].split()]
    through = ["setpriv", f"--bounding-set={','.join(['-all', *kept])}", "--no-new-privs"]
    pins = Path("/run/catenary/bpf")
    wire_up()
    mount_bpffs(pins)
    slave = "--role slave --outer l2o --inner l2i --port 8083 --data-plane af_packet"
    master = f"--role master --outer l1o --inner l1i --peer http://127.0.0.1:8083 --pin {pins}/l1"
    client = BalancerClient("http://127.0.0.1:8082")
    with (
        supervised("lb_adapter", ["lb", "run", *slave.split()], through) as other,
        supervised("lb_adapter", ["lb", "run", *master.split()], through) as one,
    ):
        other.wait_heard(1)
        one.wait_heard(1)
        check_rights(other.process.pid, RIGHTS["af_packet"], RIGHTS["af_packet"])
        check_rights(one.process.pid, RIGHTS["ebpf"], RIGHTS["ebpf"])
        wait_until(lambda: client.health().peer.connected, "handshake")
        wait_until(lambda: bool(client.change(ADD).pairs), "a pair")
        with Session() as session:
            session.talk()
        client.close()
        one.end()
        other.end()
