"""What an experiment needs of this machine, found out before anything starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catenary.errors import Unsupported
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

    return Need(name, missing)


def check(needs: Sequence[Need]) -> None:
    """Raise `Unsupported` that names all that is missing, in one line."""
    missing = dict.fromkeys(text for need in needs if (text := need.missing()) is not None)
    if missing:
        raise Unsupported("; ".join(missing))
