"""The two interfaces of a splice: checked before anything is touched, taken, and given back as they were.

A bump has no stack of its own: the host's own chatter must not be spliced, and the host must neither answer
nor forward what it hears there. What is changed for that is noted beside the session table, where a crash
leaves it, and put back by detaching.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catenary.errors import InvalidValue
from lb_adapter import abi

UP, PROMISCUOUS = 0x1, 0x100
_GET_MTU = 0x8921  # SIOCGIFMTU
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # of tc clsact
_UNTOUCHED = 0xFFFFFFFF
_SYSCTLS = (
    "ipv6/conf/{}/disable_ipv6",
    "ipv4/conf/{}/forwarding",
    "ipv4/conf/{}/arp_ignore",
)
"""In the order of `struct port_before`."""
QUIET: Mapping[str, str] = {_SYSCTLS[0]: "1"}
"""For a program at tc ingress, which takes every frame before the host's stack sees it."""
DEAF: Mapping[str, str] = {_SYSCTLS[0]: "1", _SYSCTLS[1]: "0", _SYSCTLS[2]: "8"}
"""For a packet socket, beside which the host's stack hears every frame too."""


def interface_index(name: str) -> int:
    """The index of an interface, or `InvalidValue` that names it."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise InvalidValue(f"there is no interface {name!r} here: `ip link` lists them") from None


def interface_name(index: int) -> str | None:
    """The name of an interface; None if it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return None


def netlink() -> Any:
    """An `IPRoute`. Loaded with the first one: it takes a tenth of a second, which `check` does without."""
    from pyroute2 import IPRoute

    return IPRoute()


def check(outer: str, inner: str) -> tuple[int, int]:
    """The indices of a splice's two ports, or `InvalidValue` that says why they can't be that."""
    if outer == inner:
        raise InvalidValue(f"outer and inner port are one interface, {outer!r}: name two")
    indices = interface_index(outer), interface_index(inner)
    outside, inside = _mtu(outer), _mtu(inner)
    if inside < outside:
        # The kernel leaves room for one tag beyond the MTU, so equal is enough.
        raise InvalidValue(
            f"inner port {inner} has an MTU of {inside}, too small to carry frames of outer port {outer} "
            f"({outside}) with a tag: ip link set dev {inner} mtu {outside}"
        )
    return indices


def _mtu(name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _GET_MTU, struct.pack("16s16x", name.encode()))
    return int(struct.unpack_from("=i", answer, 16)[0])


def filters(index: int) -> list[tuple[str, int]]:
    """Kind and preference of each filter at tc ingress, in the order in which they see a frame."""
    with netlink() as ip:
        found = ip.get_filters(index=index, parent=_INGRESS)
    # The kernel tells each more than once, with and without its handle.
    rows = {(str(item.get_attr("TCA_KIND")), int(item["info"]) >> 16) for item in found}
    return sorted(rows, key=lambda row: row[1])


def take(name: str, settings: Mapping[str, str], flags: int, noted: bytes | None = None) -> bytes:
    """Make an interface a port: up, with `flags` and `settings`. `struct port_before` for `give_back`.

    `noted` is what an earlier process noted of the same interface; it holds on.
    """
    index = interface_index(name)
    with netlink() as ip:
        present = int(ip.get_links(index)[0]["flags"])
        before = noted or _note(ip, index, name, settings, present & flags)
        for path, value in settings.items():
            _write(path.format(name), value)
        ip.link("set", index=index, flags=present | flags, change=flags)
    return before


def _note(ip: Any, index: int, name: str, settings: Mapping[str, str], flags: int) -> bytes:
    values = [_read(path.format(name)) if path in settings else _UNTOUCHED for path in _SYSCTLS]
    clsact = any(item.get_attr("TCA_KIND") == "clsact" for item in ip.get_qdiscs(index))
    return abi.pack("port_before", ifindex=index, flags=flags, settings=values, clsact=clsact)


def noted_for(name: str, raw: bytes | None) -> bytes | None:
    """`raw` if it was noted of this interface, and not of one that bore its name before."""
    if raw is None or abi.unpack("port_before", raw).ifindex != interface_index(name):
        return None
    return raw


def give_back(raw: bytes, flags: int) -> None:
    """Undo what `take` did with these `flags`; an interface that is gone needs nothing."""
    before = abi.unpack("port_before", raw)
    name = interface_name(before.ifindex) if before.ifindex else None
    if name is None:
        return
    for path, value in zip(_SYSCTLS, before.settings, strict=True):
        if value != _UNTOUCHED:
            _write(path.format(name), str(value))
    with netlink() as ip:
        present = int(ip.get_links(before.ifindex)[0]["flags"])
        if not before.clsact:
            _remove_clsact(ip, before.ifindex)
        ip.link("set", index=before.ifindex, flags=present & ~flags | before.flags, change=flags)


def _remove_clsact(ip: Any, index: int) -> None:
    """Unless somebody else uses it by now."""
    if any(ip.get_filters(index=index, parent=parent) for parent in (_INGRESS, _EGRESS)):
        return
    from pyroute2 import NetlinkError

    try:
        ip.tc("del", "clsact", index)
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.EINVAL):
            raise


def _read(setting: str) -> int:
    path = Path("/proc/sys/net") / setting
    return int(path.read_text()) if path.exists() else _UNTOUCHED


def _write(setting: str, value: str) -> None:
    path = Path("/proc/sys/net") / setting
    if path.exists():
        path.write_text(value)
