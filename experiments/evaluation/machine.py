"""What a run ran on and with: versions of its programs, offloads of its links."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable

from lb_adapter.doctor.host import version
from topologies.testbed import Testbed

_OPTIONS = {
    "curl": "--version",
    "httperf": "--version",
    "iperf3": "--version",
    "nft": "--version",
    "nginx": "-v",
    "snort": "-V",
    "suricata": "-V",
    "zeek": "--version",
}
"""How each is asked."""
_OFFLOADS = {
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
    "tx": "tx-checksumming",
    "rx": "rx-checksumming",
    "txvlan": "tx-vlan-offload",
    "rxvlan": "rx-vlan-offload",
}
"""By the short names of `ethtool -K`."""


def versions(names: Iterable[str]) -> dict[str, str]:
    """Of programs that are there and tell one. An NF counts as its program (suricata-drop: suricata)."""
    asked = dict.fromkeys(name.partition("-")[0] for name in names)
    found = {name: _version(name, _OPTIONS[name]) for name in asked if name in _OPTIONS}
    return {name: version for name, version in found.items() if version}


def offloads(testbed: Testbed) -> dict[str, str]:
    """Those that are on, at both ends of a client's, an NF's and a load balancer's link, such as
    {"h1-eth0": "tso gso gro tx rx", "s1-eth1": ...}. A port that can't be asked is left out."""
    blueprint = testbed.blueprint
    links = [(next(iter(kind)), "eth0") for kind in (blueprint.hosts, blueprint.nfs)]
    links += [(next(iter(blueprint.balancers)), "outer")]
    ends = [(node, f"{node}-{port}") for node, port in links]
    ends += [("root", testbed.interface(node, port)) for node, port in links]
    told = {port: testbed.hosts[node].attempt(["ethtool", "-k", port]).stdout for node, port in ends}
    return {port: active(text) for port, text in told.items() if text}


def one_packet_a_frame(testbed: Testbed, hosts: Iterable[str]) -> None:
    """Have these hosts send frames as they are on a wire. Else what TCP puts into one, up to 64 kB and never
    the same in two runs, says more of throughput than whatever carries it."""
    for host in hosts:
        off = [word for name in ("tso", "gso", "gro") for word in (name, "off")]
        testbed.hosts[host].run(["ethtool", "-K", f"{host}-eth0", *off])


def active(told: str) -> str:
    """The short names of those that `ethtool -k` says are on."""
    states = dict(re.findall(r"^([\w-]+): (on|off)", told, re.MULTILINE))
    return " ".join(short for short, name in _OFFLOADS.items() if states.get(name) == "on")


def _version(name: str, option: str) -> str:
    """The first number with a dot that it says of itself; empty if it isn't there, or says none."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return version(path, option) if path is not None else ""
