"""A private Open vSwitch: its own database, sockets and logs in one directory, without systemd.

Two userspace instances in one network namespace collide on the tap device `ovs-netdev` without saying so:
start each one in its own network namespace (`topologies.namespaces`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from catenary.errors import Unavailable, Unsupported
from topologies.patience import PATIENCE_S
from topologies.started import Started

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")


class OpenVSwitch(Started):
    """One instance whose files are in `directory`; a context manager that starts and stops it.

    `environment` holds the variables by which every `ovs-*` program (and Mininet) finds this instance.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        self.environment = dict.fromkeys(names, str(directory))

    @property
    def datapath(self) -> str:
        """Mininet's word for the datapath: `kernel` where the kernel has the module, else `user`."""
        return "kernel" if Path("/sys/module/openvswitch").exists() else "user"

    def start(self) -> None:
        """Start both daemons; returns when they answer. Raises `Unsupported` without Open vSwitch."""
        missing = [program for program in _PROGRAMS if shutil.which(program) is None]
        if missing or not SCHEMA.exists():
            raise Unsupported(
                f"Open vSwitch is not installed (no {missing[0] if missing else SCHEMA}): "
                "apt-get install openvswitch-switch"
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        database, socket = self.directory / "conf.db", self.directory / "db.sock"
        if not database.exists():
            self._run("ovsdb-tool", "create", str(database), str(SCHEMA))
        self._run(
            "ovsdb-server", str(database), f"--remote=punix:{socket}", *self._daemon_options("ovsdb-server")
        )
        self.vsctl("--no-wait", "init")
        # With segmentation offload the tagged 64 KB frames of the hosts stay whole (8 times the throughput);
        # vlan-limit=2 lets a user's own tag stay inside the chain's.
        options = ("other_config:userspace-tso-enable=true", "other_config:vlan-limit=2")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *options)
        self._run("ovs-vswitchd", f"unix:{socket}", *self._daemon_options("ovs-vswitchd"))

    def stop(self, timeout: float = PATIENCE_S) -> None:
        """Stop both daemons, bridges and taps included; harmless when they are not running."""
        for name, *options in (("ovs-vswitchd", "--cleanup"), ("ovsdb-server",)):
            pid = self._pid(name)
            if pid is None:
                continue
            self._run("ovs-appctl", "-t", name, "exit", *options)
            _wait_gone(pid, timeout)

    def vsctl(self, *arguments: str) -> str:
        """`ovs-vsctl`: its output. Raises `Unavailable` with what it said when it fails."""
        return self._run("ovs-vsctl", *arguments)

    def ofctl(self, *arguments: str) -> str:
        """`ovs-ofctl -O OpenFlow13`: its output."""
        return self._run("ovs-ofctl", "-O", "OpenFlow13", *arguments)

    def appctl(self, *arguments: str) -> str:
        """`ovs-appctl -t ovs-vswitchd`: its output."""
        return self._run("ovs-appctl", "-t", "ovs-vswitchd", *arguments)

    def add_bridge(self, name: str) -> None:
        """A bridge of the right datapath type that drops what no flow names."""
        kind = "netdev" if self.datapath == "user" else "system"
        self.vsctl("add-br", name, "--", "set", "bridge", name, f"datapath_type={kind}", "fail_mode=secure")

    def flows(self, bridge: str) -> list[str]:
        """The flows of a bridge, one a line, as `ovs-ofctl dump-flows` prints them."""
        lines = self.ofctl("dump-flows", bridge).splitlines()
        return [line.strip() for line in lines if "cookie=" in line]

    def running(self) -> bool:
        return self._pid("ovs-vswitchd") is not None and self._pid("ovsdb-server") is not None

    def _daemon_options(self, name: str) -> tuple[str, ...]:
        pid, log = self.directory / f"{name}.pid", self.directory / f"{name}.log"
        return f"--pidfile={pid}", f"--log-file={log}", "--no-chdir", "--detach", "-vconsole:off"

    def _pid(self, name: str) -> int | None:
        try:
            pid = int((self.directory / f"{name}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if alive(pid) else None

    def _run(self, *argv: str) -> str:
        environment = {**os.environ, **self.environment}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise Unavailable(f"{' '.join(argv)} failed with {done.returncode}: {said}")
        return done.stdout


def alive(pid: int) -> bool:
    """Is there a process `pid` that is not a zombie?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _wait_gone(pid: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while alive(pid):
        if time.monotonic() > deadline:
            raise Unavailable(f"Open vSwitch process {pid} has not ended within {timeout:g} s")
        time.sleep(0.01)
