"""One daemon for two interfaces: an abstract socket in their names, which ends with its process."""

from __future__ import annotations

import socket
import struct

from catenary.errors import Conflict

_CREDENTIALS = struct.Struct("3i")


def _address(outer: str, inner: str) -> str:
    return f"\0catenary-lb/{outer}/{inner}"


def daemon_of(outer: str, inner: str) -> int | None:
    """Process ID of the daemon that has these ports; None if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # the daemon never accepts: a full queue must not hold us up
        try:
            probe.connect(_address(outer, inner))
        except ConnectionRefusedError:
            return None
        except BlockingIOError:
            raise Conflict(f"a load balancer runs on {outer} and {inner}: stop it first") from None
        raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[0])


def check_no_daemon(outer: str, inner: str) -> None:
    """`Conflict` if a daemon has these ports."""
    pid = daemon_of(outer, inner)
    if pid is not None:
        raise Conflict(f"a load balancer runs on {outer} and {inner}: stop it first, `kill {pid}`")


def hold(outer: str, inner: str) -> socket.socket:
    """Be the daemon of these ports as long as the socket is open; `Conflict` if another one is."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(_address(outer, inner))
    except OSError:
        listener.close()
        check_no_daemon(outer, inner)
        raise Conflict(f"a load balancer of {outer} and {inner} is just starting or ending") from None
    listener.listen(16)
    return listener
