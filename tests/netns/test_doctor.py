"""`catenary doctor` on this kernel: it tries data planes, says what interfaces lack, and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from catenary.session import Timeouts
from lb_adapter.dataplane.base import SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from tests.isolation import isolated
from tests.netns.pair import ASK, ip
from topologies.patience import PATIENCE_S
from topologies.services import wait_until

PROGRAM = "from catenary.cli import main; main()"
OUTER, INNER = "eth2", "eth1"
DROP = Path(__file__).parents[1] / "bpf" / "drop.bpf.o"


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", PROGRAM, "doctor", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def told(*words: str, status: int) -> dict[str, dict[str, Any]]:
    """By check, what it tells of the two interfaces and of their host."""
    done = doctor("--outer", OUTER, "--inner", INNER, "--json", *words)
    assert done.returncode == status, done.stdout + done.stderr
    return {item.pop("check"): item for item in json.loads(done.stdout)["checks"]}


def shell(text: str) -> str:
    return subprocess.run(text, shell=True, capture_output=True, text=True, check=True).stdout


def state() -> str:
    """All of this network, and of what is mounted, that a trial could leave its traces in."""
    sysctls = "ls /proc/sys/net/ipv4/conf; sysctl net.ipv4.conf net.ipv6.conf 2>&1 | grep -v stable_secret"
    return shell(f"ip -d link; ip address; tc qdisc; cat /proc/self/mountinfo; ip netns; {sysctls}")


def wired() -> None:
    """Two interfaces that work, in a network that stays as it is."""
    shell("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
    for name in (OUTER, INNER):
        ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-far")
        for end in (name, f"{name}-far"):
            ip("link", "set", end, "up")
    ends = [end for name in (OUTER, INNER) for end in (name, f"{name}-far")]
    wait_until(lambda: all("state UP" in shell(f"ip link show {end}") for end in ends), "links")


@isolated
def test_a_host_that_is_well_is_left_as_it_was() -> None:
    wired()
    before = state()
    checks = told(status=0)
    assert state() == before
    assert {checks[name]["level"] for name in ("kernel", "ebpf", "clsact", "af_packet", "ports")} == {"ok"}
    assert checks["ebpf"]["found"].startswith("loads, and decides ")
    assert checks["clsact"]["found"] == "takes a program"
    assert checks["af_packet"]["found"].startswith("carries, in ")
    assert checks["ports"]["found"] == f"{OUTER} MTU 1500, {INNER} MTU 1500"
    for name in (OUTER, INNER):
        whats = ("link", "filter", "offloads", "rxvlan", "txvlan", "rx-vlan-filter", "use")
        assert {checks[f"{name} {what}"]["level"] for what in whats} == {"ok"}
        assert checks[f"{name} rx-vlan-filter"]["found"] == "off, which is fixed"


@isolated
def test_interfaces_that_are_not_well_are_told_with_the_fix() -> None:
    wired()
    ip("link", "set", INNER, "mtu", "1400")
    ip("link", "set", OUTER, "down")
    ip("link", "set", f"{INNER}-far", "down")
    ip("address", "add", "192.0.2.7/24", "dev", INNER)
    shell(f"tc qdisc add dev {OUTER} clsact")
    shell(f"ethtool -K {OUTER} rxvlan off")
    drop = f"bpf direct-action object-file {DROP} section tc"
    shell(f"tc filter add dev {OUTER} ingress prio 1 handle 1 {drop}")
    shell(f"tc qdisc add dev {INNER} clsact; tc filter add dev {INNER} ingress pref 7 u32 match u8 0 0")
    checks = told(status=1)
    assert checks["ports"] == {
        "level": "fault",
        "found": f"inner port {INNER} has an MTU of 1400, too small to carry frames of outer port {OUTER} "
        "(1500) with a tag",
        "fix": f"ip link set dev {INNER} mtu 1500",
    }
    assert checks[f"{OUTER} link"]["level"] == "warning"
    assert checks[f"{INNER} link"]["found"] == "up, without a carrier"
    assert checks[f"{OUTER} filter"] == {
        "level": "fault",
        "found": f"{OUTER} has a tc filter of somebody else's, 'drop', where ours goes",
        "fix": f"`tc filter delete dev {OUTER} ingress` removes it",
    }
    assert checks[f"{OUTER} rxvlan"] == {
        "level": "warning",
        "found": "off: each tag is copied out of its frame",
        "fix": f"ethtool -K {OUTER} rxvlan on",
    }
    assert checks[f"{INNER} filter"]["found"].startswith("a filter (u32, pref 7) comes after ours")
    assert checks[f"{INNER} use"]["found"].startswith("has 192.0.2.7/24: ")
    other = told("--data-plane", "af_packet", status=1)
    assert other[f"{INNER} filter"]["level"] == "fault", "a packet socket would share its frames with it"


@isolated
def test_a_load_balancer_that_runs_is_no_fault_and_stays() -> None:
    wired()
    plane = EbpfDataPlane(pins=1024)
    plane.configure(SpliceConfig("master", OUTER, INNER, ASK, Timeouts()))
    plane.attach()
    checks = told(status=0)
    assert checks[f"{OUTER} filter"] == {"level": "ok", "found": "a load balancer's", "fix": ""}
    assert "outer" in shell(f"tc filter show dev {OUTER} ingress")
    plane.detach()
    plane.close()


@isolated
def test_an_interface_that_is_not_there_is_a_fault_for_people_too() -> None:
    done = doctor("--outer", "eth8", "--inner", "eth9")
    assert done.returncode == 1
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "fault ports there is no interface 'eth8' here" in lines
    assert "-> `ip link` lists them" in lines
    assert done.stdout.splitlines()[-1].startswith("1 fault, ")
