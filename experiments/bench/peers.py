"""What stands between client and server, one peer each, and the settings in which it may be at its best.

A setting is a script that anybody can read and run: it is what the benchmark executes, and prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from experiments.bench import openvswitch, pair
from experiments.bench.net import Network, shell, tc_program
from experiments.bench.openvswitch import Rules


@dataclass(frozen=True)
class Setting:
    """One way to run a peer. `open` builds it in a fresh network and takes it down again."""

    command: str
    open: Callable[[Network], AbstractContextManager[None]]


@dataclass(frozen=True)
class Peer:
    key: str
    title: str
    settings: tuple[Setting, ...]
    """Empty: it can't run here."""


_HOSTS_GRO = "ethtool -K eth0 gro on"


def _scripted(script: str, *, direct: bool = False, hosts: str = "") -> Setting:
    """A setting that is one script here, and one at each host."""

    @contextmanager
    def opened(network: Network) -> Iterator[None]:
        if direct:
            network.direct()
        else:
            network.bumps(wired="l1i" in script)
        shell(script)
        _at_hosts(network, hosts)
        yield

    at_hosts = f"at both hosts: {hosts}" if hosts else ""
    return Setting("\n".join(filter(None, (script.strip(), at_hosts))) or "# default offloads", opened)


def _at_hosts(network: Network, script: str) -> None:
    for host in (network.client, network.server):
        host.run(["sh", "-ec", script])


_BRIDGE = """
ip link add br0 type bridge mcast_snooping 0 forward_delay 0
ip link set l1o master br0
ip link set l2o master br0
ip link set br0 up
"""
_NO_NETFILTER = "[ ! -e /proc/sys/net/bridge ] || sysctl -qw net.bridge.bridge-nf-call-iptables=0"


def _bridge(more: str, hosts: str = "") -> Setting:
    inner = _scripted(_BRIDGE + more, hosts=hosts)

    @contextmanager
    def opened(network: Network) -> Iterator[None]:
        with inner.open(network):
            try:
                yield
            finally:
                shell("ip link del br0")

    return Setting(inner.command, opened)


_PORTS = ("l1o", "l1i", "l2i", "l2o")
_REDIRECT = "\n".join(f"tc qdisc add dev {port} clsact\n{tc_program(port, 'redirect')}" for port in _PORTS)
_PORTS_GRO = "\n".join(f"ethtool -K {port} gro on" for port in _PORTS)


def _catenary(options: str = "", *, more: str = "", hosts: str = "") -> Setting:
    """Master and slave in a row. `options` are the master's; `more` is a script for the machine."""
    slave_line, master_line = pair.commands(options)

    @contextmanager
    def opened(network: Network) -> Iterator[None]:
        network.bumps()
        with pair.pair(network, master=options):
            shell(more)
            _at_hosts(network, hosts)
            yield

    lines = [f"catenary {slave_line}", f"catenary {master_line}", more]
    lines += [f"at both hosts: {hosts}"] if hosts else []
    return Setting("\n".join(filter(None, lines)), opened)


def _af_packet() -> tuple[Setting, ...]:
    """One load balancer in user space, its far end in the kernel; none if `catenary lb run` has no choice."""
    program = "from lb_adapter.cli import app; app()"
    wide = {**os.environ, "COLUMNS": "200"}
    text = subprocess.run(
        [sys.executable, "-c", program, "lb", "run", "--help"], capture_output=True, text=True, env=wide
    ).stdout
    found = re.search(r"--data-?plane", text)
    if found is None:
        return ()
    option = f"{found.group()} af_packet"
    return _catenary(option), _catenary(option, hosts=_HOSTS_GRO), _catenary(f"{option} --threads 1")


def _switches(rules: Rules) -> tuple[Setting, ...]:
    """With segmentation offload and without (the hosts must do without it, too), with SMC and without."""

    def setting(tso: bool, smc: bool) -> Setting:
        hosts = "" if tso else "ethtool -K eth0 tx off"

        @contextmanager
        def opened(network: Network) -> Iterator[None]:
            network.bumps()
            with openvswitch.bridges(rules, tso=tso, smc=smc):
                _at_hosts(network, hosts)
                yield

        lines = [*openvswitch.commands(rules, tso=tso, smc=smc), f"at both hosts: {hosts}" if hosts else ""]
        return Setting("\n".join(filter(None, lines)), opened)

    return tuple(setting(tso, smc) for tso in (True, False) for smc in (False, True))


_BRIDGES = tuple(_bridge(f"{more}\n", hosts) for more in ("", _NO_NETFILTER) for hosts in ("", _HOSTS_GRO))


TITLES = {
    "direct": "direct veth",
    "bridge": "Linux bridge",
    "tc_redirect": "tc redirect",
    "ebpf_pair": "Catenary ebpf pair",
    "af_packet": "Catenary af_packet",
    "ovs_multipath": "Open vSwitch multipath",
    "ovs_learn": "Open vSwitch learn",
}


def peers() -> tuple[Peer, ...]:
    """All of them, in the order of the plots."""
    redirect_gro = _scripted(f"{_REDIRECT}\n{_PORTS_GRO}", hosts=_HOSTS_GRO)
    settings = {
        "direct": (_scripted("", direct=True), _scripted("", direct=True, hosts=_HOSTS_GRO)),
        "bridge": _BRIDGES,
        "tc_redirect": (_scripted(_REDIRECT), redirect_gro),
        "ebpf_pair": (_catenary(), _catenary(more=_PORTS_GRO, hosts=_HOSTS_GRO)),
        "af_packet": _af_packet(),
        "ovs_multipath": _switches(openvswitch.MULTIPATH),
        "ovs_learn": _switches(openvswitch.LEARN),
    }
    return tuple(Peer(key, title, settings[key]) for key, title in TITLES.items())
