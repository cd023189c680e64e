"""Machines that die and come back on a testbed."""

from __future__ import annotations

import shutil

from topologies.hosts import Host
from topologies.testbed import Testbed


def plug(host: Host, *, into: bool) -> None:
    """Have all links of a machine up, or down; the control network's too."""
    for line in host.run(["ip", "-brief", "link", "show", "type", "veth"]).splitlines():
        link = line.split()[0].partition("@")[0]
        host.run(["ip", "link", "set", link, "up" if into else "down"])


def lose_machine(testbed: Testbed, balancer: str) -> None:
    """Of a load balancer, with all that its memory held: daemon, programs and session table."""
    testbed.kill(balancer)
    plug(testbed.hosts[balancer], into=False)
    for port in ("outer", "inner"):
        testbed.hosts[balancer].run(["tc", "qdisc", "del", "dev", f"{balancer}-{port}", "clsact"])
    shutil.rmtree(testbed.pins(balancer))


def bring_back(testbed: Testbed, balancer: str) -> None:
    """Waits until it is ready, its table empty."""
    plug(testbed.hosts[balancer], into=True)
    testbed.restart(balancer)
