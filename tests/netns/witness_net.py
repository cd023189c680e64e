"""A small network for the taps, in namespaces of its own, broken on purpose when asked to.

    h1 --- sw --- l1 --- sw --- n1 --- sw --- l2 --- sw --- h2
                           \\--- n2 ---/

One Open vSwitch `sw` (userspace datapath) joins all; l1 and l2 are plain bridges that stand where the load
balancers would, n1 and n2 plain bridges as NFs. Rules choose the NF by the parity of the client's port.
`python -m topologies.namespaces python -m tests.netns.witness_net FAULT` prints JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.netns.witness_traffic import Load
from topologies import namespaces
from topologies.patience import PATIENCE_S
from witness.checker import judge
from witness.places import Place, PlaceKind, nf_places
from witness.taps import Taps
from witness.verdict import Thresholds

NAMES = ("h1", "h2", "l1", "l2", "n1", "n2")
PORTS = ("h1", "l1o", "l1i", "n1a", "n1b", "n2a", "n2b", "l2i", "l2o", "h2")
PLACES = (
    Place("l1.outer", PlaceKind.OUTER_MASTER, "l1o"),
    Place("l2.outer", PlaceKind.OUTER_SLAVE, "l2o"),
    *nf_places("n1", "n1a", "n1b"),
    *nf_places("n2", "n2a", "n2b"),
)
CHAINS = {"chain-1": ("n1",), "chain-2": ("n2",)}
IP_KINDS = ("tcp", "udp", "tcp6", "udp6")
EVEN, ODD = "0/1", "1/1"
CLIENT_PORT, SERVER_SIDE = {"l1i": "src", "l2i": "dst"}, {"l1i": "a", "l2i": "b"}


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def switch(folder: Path) -> None:
    os.environ.update(dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(folder)))
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    run("ovsdb-tool", "create", f"{folder}/conf.db", schema)
    common = ("--no-chdir", "--detach", "-vconsole:off")
    socket = f"{folder}/db.sock"
    pid, log = f"--pidfile={folder}/db.pid", f"--log-file={folder}/db.log"
    run("ovsdb-server", f"{folder}/conf.db", f"--remote=punix:{socket}", pid, log, *common)
    run("ovs-vsctl", "--no-wait", "init")
    run(
        *("ovs-vsctl", "--no-wait", "set", "Open_vSwitch", "."),
        *("other_config:userspace-tso-enable=true", "other_config:vlan-limit=2"),
    )
    pid, log = f"--pidfile={folder}/switch.pid", f"--log-file={folder}/switch.log"
    run("ovs-vswitchd", f"unix:{socket}", pid, log, *common)
    run("ovs-vsctl", "add-br", "sw", "--", "set", "bridge", "sw", "datapath_type=netdev", "fail_mode=secure")


def build(folder: Path) -> None:
    switch(folder)
    for name in NAMES:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    for port in PORTS:
        name = port[:2]
        run("ip", "link", "add", port, "type", "veth", "peer", "name", f"e{port[2:]}", "netns", name)
        Path(f"/proc/sys/net/ipv6/conf/{port}/disable_ipv6").write_text("1")
        run("ip", "link", "set", port, "up")
        run("ovs-vsctl", "add-port", "sw", port)
    for number, host in enumerate(("h1", "h2"), 1):
        run("ip", "-n", host, "addr", "add", f"10.0.0.{number}/24", "dev", "e")
        run("ip", "-n", host, "addr", "add", f"fd00:ca7e::{number}/64", "dev", "e", "nodad")
        run("ip", "-n", host, "link", "set", "e", "up")
        # Bursts of large frames overrun the switch's 200 KB sockets, and the taps see that too.
        limit = ("tbf", "rate", "60mbit", "burst", "32kb", "latency", "1s")
        run("tc", "-n", host, "qdisc", "add", "dev", "e", "root", *limit)
    for name in ("l1", "l2", "n1", "n2"):
        run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        run("ip", "-n", name, "link", "add", "join", "type", "bridge", "mcast_snooping", "0")
        for port in [port[2:] for port in PORTS if port[:2] == name]:
            run("ip", "-n", name, "link", "set", f"e{port}", "master", "join", "up")
        run("ip", "-n", name, "link", "set", "join", "up")


def rules(fault: str) -> list[str]:
    """The OpenFlow rules of the network; what `fault` breaks stands at a higher priority."""
    found = []

    def rule(source: str, target: str, match: str = "", priority: int = 1) -> None:
        match = f"{match}," if match else ""
        found.append(f"priority={priority},{match}in_port={source},actions=output:{target}")

    for source, target in (("h1", "l1o"), ("l1o", "h1"), ("h2", "l2o"), ("l2o", "h2"), ("l1i", "l2i")):
        rule(source, target)
    rule("l2i", "l1i")  # ARP, ND
    for nf in ("n1", "n2"):
        rule(f"{nf}a", "l1i")
        rule(f"{nf}b", "l2i")
    for kind in IP_KINDS:
        for inner, side in SERVER_SIDE.items():
            port = f"{kind[:3]}_{CLIENT_PORT[inner]}"
            for value, nf in ((EVEN, "n1"), (ODD, "n1" if fault == "one-chain" else "n2")):
                rule(inner, f"{nf}{side}", f"{kind},{port}={value}", 2)
            if fault == "bypass":
                rule(inner, "l2i" if inner == "l1i" else "l1i", f"{kind},{port}=2/7", 3)
        if fault == "crossing":
            rule("l2i", "n2b", f"{kind},{kind[:3]}_dst=2/7", 3)
    return found


def drop_one_in_a_hundred(fault: str) -> None:
    if fault == "loss":
        table = (
            "table bridge loss { chain forward { type filter hook forward priority 0; "
            "numgen inc mod 100 0 counter drop; }; }"
        )
        run("ip", "netns", "exec", "l1", "nft", table)


def main(fault: str) -> None:
    namespaces.require_isolated()
    with tempfile.TemporaryDirectory(dir=namespaces.PRIVATE) as folder:
        build(Path(folder))
        for rule in rules(fault):
            run("ovs-ofctl", "-O", "OpenFlow13", "add-flow", "sw", rule)
        drop_one_in_a_hundred(fault)
        with Taps(PLACES) as taps:
            load = Load.run(Path(folder))
            deadline = time.monotonic() + PATIENCE_S
            before = None
            while before != (now := taps.totals()) and time.monotonic() < deadline:
                before = now
                time.sleep(0.2)
            recording = taps.snapshot(CHAINS)
            verdict = judge(recording, thresholds=Thresholds(min_share=0.2), in_flight_s=0.0)
            live = {f"{place} {way}": total.payload for (place, way), total in taps.totals().items()}
        result = {
            **verdict.summary(),
            **load.__dict__,
            "payload": live,
            "left": run("tc", "filter", "show", "dev", "l1o", "egress"),
            "switch_dropped": sum(int(count) for count in re.findall(r",d(\d+)\)", run("ss", "-0", "-am"))),
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
