"""What an experiment needs of this machine, found out before anything starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catenary.errors import InvalidValue, Unsupported
from topologies.nfs import catalog


@dataclass(frozen=True)
class Need:
    """`missing` says what is not there and how to get it; None: it is there."""

    name: str
    missing: Callable[[], str | None]


def command(name: str, package: str) -> Need:
    """A program of a Debian package."""

    def missing() -> str | None:
        path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
        return (
            None if shutil.which(name, path=path) else f"{name} is not installed: apt-get install {package}"
        )

    return Need(name, missing)


def _not_root() -> str | None:
    return None if os.geteuid() == 0 else "network namespaces need root: run it by sudo"


_MBIT_A_CORE = 120
"""Through six crossings of Open vSwitch in user space, frames of clients with offloads; seen on 2 cores."""
_SESSIONS_A_CORE = 600
"""That begin in a second: 2 cores were seen to carry some 2000 without NFs that look into them."""
ROOT = Need("root", _not_root)
TESTBED = (
    ROOT,
    command("ovs-vswitchd", "openvswitch-switch"),
    command("mnexec", "mininet"),
    command("nft", "nftables"),
    command("nginx", "nginx-light"),
    command("httperf", "httperf"),
)
TRAFFIC = (*TESTBED, command("curl", "curl"))


def pf_ring() -> Need:
    """The library and the kernel module of PF_RING."""

    def missing() -> str | None:
        if Path("/proc/net/pf_ring").exists():
            return None
        return "PF_RING is not loaded (no /proc/net/pf_ring): see `catenary doctor`, or leave pf_ring out"

    return Need("pf_ring", missing)


def nf(name: str) -> Need:
    """An NF of topologies/nfs. Raises `InvalidValue` for a name that none has."""

    def missing() -> str | None:
        try:
            catalog.named(name)
        except Unsupported as error:
            return error.detail
        return None

    return Need(catalog.resolved(name), missing)


def rate(offered_mbit: float) -> Need:
    """Processors that carry so much (Mbit/s): all switches, NFs, clients and servers are on this machine."""
    return _carried("rate", offered_mbit, "Mbit/s", _MBIT_A_CORE, "a smaller capacity_mbit")


def sessions(begun_a_second: float) -> Need:
    """Processors on which so many sessions can begin a second, injections among them."""
    fix = "a smaller share or a larger time_scale"
    return _carried("sessions", begun_a_second, "sessions/s", _SESSIONS_A_CORE, fix)


def _carried(name: str, offered: float, unit: str, a_core: int, fix: str) -> Need:
    def missing() -> str | None:
        cores = len(os.sched_getaffinity(0))
        if offered <= cores * a_core:
            return None
        return (
            f"{offered:.0f} {unit} can't be offered here: {cores} cores carry about {cores * a_core}; "
            f"use {fix}, by --set, or a larger machine"
        )

    return Need(name, missing)


def check(needs: Sequence[Need]) -> None:
    """Raise `InvalidValue` that names all that is missing, in one line."""
    missing = dict.fromkeys(text for need in needs if (text := need.missing()) is not None)
    if missing:
        raise InvalidValue("; ".join(missing))
