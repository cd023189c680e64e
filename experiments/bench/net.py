"""Client and server in network namespaces of their own; what is between them is the caller's.

    client eth0 10.0.0.1 -- l1o    l1i -- l2i    l2o -- eth0 10.0.0.2 server

The load balancers' ends are in the calling process's namespace (`topologies.namespaces.isolate` first). Ports
that belong together have indices 2n and 2n + 1 (bpf/redirect.bpf.c). Everybody's clatter is off: no IPv6, and
neighbours are known.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from catenary.errors import Unavailable, Unsupported
from topologies import namespaces
from topologies.hosts import Host
from topologies.patience import PATIENCE_S

HERE = Path(__file__).resolve().parent
REDIRECT = HERE / "bpf" / "redirect.bpf.o"
CLIENT, SERVER = "client", "server"
ADDRESS = {CLIENT: "10.0.0.1", SERVER: "10.0.0.2"}
MAC = {CLIENT: "02:00:00:00:00:01", SERVER: "02:00:00:00:00:02"}
_INDEX = {"l1o": 1000, "l1i": 1001, "l2i": 1002, "l2o": 1003}

_HOLDER = """
ip link set lo up
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
sysctl -qw net.ipv4.tcp_congestion_control=cubic 2> /dev/null ||
    sysctl -qw net.ipv4.tcp_congestion_control=reno
echo ready
exec sleep infinity
"""
_ADDRESS = """
ip link set eth0 address {mac}
ip address add {address}/24 dev eth0
ip link set eth0 up
ip neighbour replace {peer} lladdr {peer_mac} dev eth0 nud permanent
"""


def shell(script: str) -> str:
    """Run a script until its first error: its output. Raises `Unavailable` with what it said."""
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode != 0:
        raise Unavailable(f"failed with {done.returncode}: {done.stderr.strip()} (in: {script.strip()})")
    return done.stdout


@cache
def built(name: str) -> Path:
    """The program that `name`.c is, compiled into the namespace's own file system."""
    compiler = shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        raise Unsupported("no C compiler here: apt-get install clang")
    target = namespaces.PRIVATE / name
    shell(f"{compiler} -O2 -Wall -Wextra -Werror {HERE / name}.c -o {target}")
    return target


class Network:
    """The two hosts; `direct` or `bumps` makes the links. All of it is gone when the context ends."""

    def __init__(self) -> None:
        namespaces.require_isolated()
        self.logs = Path(tempfile.mkdtemp(prefix="bench-", dir=namespaces.PRIVATE))
        self._holders: list[subprocess.Popen[str]] = []
        self._links: list[str] = []
        self.root = Host("root", _own_pid(), self.logs, "127.0.0.1")

    def __enter__(self) -> Self:
        shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        try:
            self.client, self.server = (self._host(name) for name in (CLIENT, SERVER))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for link in self._links:
            with suppress(Unavailable):  # the end of a peer may have taken it already
                shell(f"ip link del {link}")
        for holder in self._holders:
            holder.kill()
            holder.wait()

    def direct(self) -> None:
        """One veth from client to server."""
        shell(f"ip link add eth0 netns {self.client.pid} type veth peer name eth0 netns {self.server.pid}")
        self._configure()

    def bumps(self, *, wired: bool = True) -> None:
        """The links of the drawing; not `wired` leaves out the one between the inner ports."""
        self.link("l1o", "eth0", peer=self.client)
        self.link("l2o", "eth0", peer=self.server)
        if wired:
            self.link("l1i", "l2i")
        self._configure()

    def link(self, name: str, other: str, *, peer: Host | None = None) -> None:
        """A veth, both ends up; the far end at `peer`, or here too."""
        near, far = (f"index {_INDEX[end]}" if end in _INDEX else "" for end in (name, other))
        place = f"netns {peer.pid}" if peer else far
        shell(f"ip link add {name} {near} type veth peer name {other} {place}\nip link set {name} up")
        if peer is None:
            shell(f"ip link set {other} up")
        self._links.append(name)

    def received(self, host: Host) -> int:
        """Frames that came in through the host's interface."""
        return int(host.run(["cat", "/proc/net/dev"]).split("eth0:")[1].split()[1])

    def drop_all(self, host: Host) -> None:
        """Let the host's interface count what comes in, and nothing else happen to it."""
        host.run(["sh", "-ec", f"tc qdisc add dev eth0 clsact; {tc_program('eth0', 'sink')}"])

    def _host(self, name: str) -> Host:
        holder = subprocess.Popen(["unshare", "-n", "sh", "-ec", _HOLDER], stdout=subprocess.PIPE, text=True)
        self._holders.append(holder)
        assert holder.stdout is not None, "it is a pipe"
        if holder.stdout.readline() != "ready\n":
            raise Unavailable(f"no network namespace for {name}: unshare -n has ended")
        return Host(name, holder.pid, self.logs, ADDRESS[name])

    def _configure(self) -> None:
        for host, other in ((self.client, SERVER), (self.server, CLIENT)):
            script = _ADDRESS.format(
                mac=MAC[host.name], address=ADDRESS[host.name], peer=ADDRESS[other], peer_mac=MAC[other]
            )
            host.run(["sh", "-ec", script])


def tc_program(link: str, program: str) -> str:
    """The command that attaches a program of redirect.bpf.c to a link that has a clsact."""
    return f"tc filter add dev {link} ingress bpf direct-action object-file {REDIRECT} program {program}"


def _own_pid() -> int:
    return int(Path("/proc/self").readlink().name)
