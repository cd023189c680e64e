"""The NFs that bridge, by the names that command lines and parameters call them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from catenary.errors import InvalidValue, Unsupported
from topologies.hosts import Host
from topologies.nfs import snort, suricata, zeek
from topologies.nfs.bridge import Bridge
from topologies.nfs.firewall import Firewall
from topologies.nfs.function import Maker, NetworkFunction
from topologies.nfs.snort import Snort
from topologies.nfs.suricata import Suricata
from topologies.nfs.zeek import Zeek


@dataclass(frozen=True)
class Kind:
    """How an NF is made; `needs` raises `Unsupported` that names what this host lacks for it."""

    make: Maker
    needs: Callable[[], object] = lambda: None


def resolved(name: str) -> str:
    """What a name stands for on this host: "passive" for Zeek where it is installed, else for Suricata beside
    a bridge; any other for itself."""
    if name != "passive":
        return name
    try:
        zeek.installed()
    except Unsupported:
        return "suricata-passive"
    return "zeek"


def _passive(host: Host, ingress: str, egress: str, *, rate_mbit: float | None = None) -> NetworkFunction:
    return NFS[resolved("passive")].make(host, ingress, egress, rate_mbit=rate_mbit)


NFS: Mapping[str, Kind] = MappingProxyType(
    {
        "firewall": Kind(Firewall),
        "bridge": Kind(Bridge),
        "suricata": Kind(Suricata, suricata.installed),
        "suricata-drop": Kind(partial(Suricata, action="drop"), suricata.installed),
        "suricata-passive": Kind(partial(Suricata, passive=True), suricata.installed),
        "snort": Kind(Snort, snort.installed),
        "snort-block": Kind(partial(Snort, action="block"), snort.installed),
        "zeek": Kind(Zeek, zeek.installed),
        "passive": Kind(_passive, lambda: NFS[resolved("passive")].needs()),
    }
)


def named(name: str) -> Maker:
    """The maker of this NF.

    Raises `InvalidValue` that names those there are, and `Unsupported` for one that can't run on this host.
    """
    if name not in NFS:
        raise InvalidValue(f"no NF {name!r} here: use {', '.join(NFS)}")
    NFS[name].needs()
    return NFS[name].make
