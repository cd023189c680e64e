"""A process in its own network, mount and PID namespaces, of which nothing is left however it ends.

    launcher  (outside; passes SIGTERM on, ends with the command's status)
    `- init   (PID 1 inside; dies with the launcher, and the kernel then ends all that is inside)
       `- the command

A program calls `isolate()` at its start and goes on inside; `python -m topologies.namespaces COMMAND ...`
runs any other command inside.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catenary.errors import InvalidValue, Unsupported

_CLONE_NEWNS, _CLONE_NEWPID, _CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
MARK, _INIT = "CATENARY_NAMESPACE", "CATENARY_NAMESPACE_PID"
PRIVATE = Path("/run/catenary")
"""Inside, a file system in memory that ends with the namespace, for files that nobody needs afterwards."""
_libc = ctypes.CDLL(None, use_errno=True)


def isolated() -> bool:
    """Is this process inside a namespace that `isolate` made?"""
    return inside(current())


def inside(network: str) -> bool:
    """Does this process belong to what `isolate` made around this network namespace?"""
    return os.environ.get(MARK) == network


def init() -> int:
    """PID 1 of these namespaces, as it is seen outside."""
    return int(os.environ.get(_INIT, os.getpid()))


def require_isolated() -> None:
    """Raise `Unsupported` outside: what follows would change the host's own interfaces."""
    if not isolated():
        raise Unsupported(
            "this needs its own network namespace: call topologies.namespaces.isolate() first, "
            "or run it by 'python -m topologies.namespaces COMMAND'"
        )


def isolate(links: Sequence[str] = ()) -> None:
    """Go on in new namespaces, with `lo` up, loss-based congestion control, and `links` moved inside.

    Returns in a child; this process stays outside as its launcher and ends with the child's status. Call it
    before any thread is started. Does nothing in a process that is inside already. Raises `Unsupported`
    when not root, `InvalidValue` for a link that is not there. The kernel moves physical `links` back to the
    host when the namespace ends; virtual ones end with it.
    """
    if isolated():
        return
    if os.geteuid() != 0:
        raise Unsupported("network namespaces need root: run this as root (sudo)")
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET), "unshare")
    for link in links:
        _take(link, outside)
    os.close(outside)
    _check(_libc.unshare(_CLONE_NEWPID), "unshare")  # the next process that is forked becomes its PID 1
    os.environ[MARK] = current()
    told, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    init = os.fork()
    if init:
        os.write(tell, str(init).encode())
        os._exit(_pass_on_and_wait(init))
    os.close(tell)
    _die_with_parent()
    # Empty if the launcher died before the death signal was set: then nobody else would end this.
    if not (outside_pid := os.read(told, 16).decode()):
        os._exit(1)
    os.close(told)
    os.environ[_INIT] = outside_pid
    _prepare()
    child = os.fork()
    if child:
        os._exit(_pass_on_and_wait(child))


def popen(argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a command in namespaces of its own; it ends when the calling process does."""
    root = str(Path(__file__).resolve().parent.parent)
    environment = {key: value for key, value in os.environ.items() if key != MARK}
    environment |= options.pop("env", {})
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "topologies.namespaces", *argv]
    return subprocess.Popen(command, env=environment, preexec_fn=_die_with_parent, **options)


def current() -> str:
    """The network namespace of this process: a word that no other has."""
    return os.readlink("/proc/self/ns/net")


def _check(result: int, what: str) -> None:
    if result != 0:
        fault = os.strerror(ctypes.get_errno())
        raise Unsupported(f"{what} failed ({fault}): network namespaces need root and a kernel that has them")


def _take(link: str, outside: int) -> None:
    """Move a network interface from the namespace behind the descriptor `outside` into this one."""
    enter = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{outside}"]
    command = [*enter, "ip", "link", "set", link, "netns", str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise InvalidValue(f"network interface {link!r} can't be taken: {done.stderr.strip()}")


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _prepare() -> None:
    """Inside, as PID 1: private mounts with /proc, /run/netns and `PRIVATE` of its own, `lo` up."""
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    _mount("proc", Path("/proc"))
    for directory in (PRIVATE, Path("/run/netns")):
        directory.mkdir(exist_ok=True)
        _mount("tmpfs", directory)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    use_loss_based_tcp()


def _mount(kind: str, target: Path) -> None:
    _check(_libc.mount(kind.encode(), bytes(target), kind.encode(), 0, None), f"mount of {target}")


def mount_bpffs(directory: Path) -> None:
    """Mount a BPF file system at `directory` (made if need be), for pinned maps and programs."""
    require_isolated()
    directory.mkdir(parents=True, exist_ok=True)
    _mount("bpf", directory)


def unmount(directory: Path) -> None:
    _check(_libc.umount2(bytes(directory), _MNT_DETACH), f"unmount of {directory}")


def use_loss_based_tcp() -> None:
    """Make cubic this network namespace's congestion control, or reno where the host lets it use no cubic.

    The host's own default, which new namespaces inherit, may be bbr, and that overfills a slow NF's queue.
    """
    setting = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    try:
        setting.write_text("cubic")
    except PermissionError:  # restricted by the host's tcp_allowed_congestion_control; reno never is
        setting.write_text("reno")


def _pass_on_and_wait(child: int) -> int:
    """Wait for `child`, passing SIGTERM on to it and reaping what else ends; its exit status."""

    def pass_on(number: int, _frame: object) -> None:
        os.kill(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command by itself
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main() -> None:
    argv = sys.argv[1:]
    if not argv:
        sys.exit("usage: python -m topologies.namespaces COMMAND [ARGUMENT ...]")
    isolate()
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
