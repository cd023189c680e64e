"""Bridges in the load balancers' place: the kernel's, and the least that a program in user space can be."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from catenary import libbpf
from catenary.errors import Unsupported
from experiments.peers.balancing import BALANCERS, Chain, Rival
from topologies import namespaces
from topologies.hosts import Host, inside
from topologies.services import wait_until
from topologies.testbed import Testbed

HERE = Path(__file__).parent
OBJECT = HERE / "bpf" / "tagged.bpf.o"
_BRIDGE = """\
set -e
ip link add br0 type bridge mcast_snooping 0 forward_delay 0
for port in {outer} {inner}; do ip link set $port master br0; done
ip link set br0 up
"""


class Tagged(Rival):
    """What both bridges have in common: the tags of one chain on what leaves the inner ports."""

    pops = True
    """Does the kernel take the tag off what comes in?"""

    def __init__(self, testbed: Testbed) -> None:
        super().__init__(testbed)
        self._objects: dict[str, libbpf.Object] = {}

    def start(self) -> None:
        super().start()
        for name in BALANCERS:
            made = self._objects[name] = libbpf.Object(OBJECT)
            with inside(self.testbed.hosts[name]):
                index = socket.if_nametoindex(f"{name}-inner")
                made.program("push").attach(index, libbpf.EGRESS)
                if self.pops:
                    made.program("pop").attach(index, libbpf.INGRESS)

    def stop(self) -> None:
        for made in self._objects.values():
            made.close()

    def set_chains(self, chains: Sequence[Chain]) -> None:
        """A bridge balances nothing: all goes through the first."""
        tags = chains[0].tags
        for name, tag in zip(BALANCERS, (tags.forward, tags.reverse), strict=True):
            self._objects[name].map("tag").set(bytes(4), struct.pack("=I", tag))


class LinuxBridge(Tagged):
    """The kernel's bridge at both ends."""

    def start(self) -> None:
        super().start()
        for name in BALANCERS:
            script = _BRIDGE.format(outer=f"{name}-outer", inner=f"{name}-inner")
            self.testbed.hosts[name].run(["sh", "-c", script])

    def stop(self) -> None:
        for name in BALANCERS:
            self.testbed.hosts[name].attempt(["ip", "link", "del", "br0"])
        super().stop()


class CaptureBridge(Tagged):
    """A program at both ends that reads frames and writes them."""

    pops = False  # it reads before the kernel would, and without the tag

    def __init__(self, testbed: Testbed) -> None:
        super().__init__(testbed)
        self._processes: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        super().start()
        for name in BALANCERS:
            host = self.testbed.hosts[name]
            argv = [str(built()), f"{name}-outer", f"{name}-inner"]
            self._processes.append(host.popen(argv, log=f"capture-{name}"))
            wait_until(partial(_ready, host), f"the capture bridge of {name} is not ready")

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        super().stop()


def _ready(host: Host) -> bool:
    return "ready" in (host.logs / f"capture-{host.name}.log").read_text()


@cache
def built() -> Path:
    """The program that capture.c is, compiled into the namespace's own file system."""
    compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise Unsupported("no C compiler here: apt-get install gcc")
    target = namespaces.PRIVATE / "capture"
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", str(target)]
    subprocess.run([compiler, str(HERE / "capture.c"), *options], check=True, timeout=60)
    return target
