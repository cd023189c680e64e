"""What `catenary doctor` makes of what there is on a host: every finding that is not well, word by word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from catenary.errors import InvalidValue
from lb_adapter.doctor import command
from lb_adapter.doctor.checks import TESTBED, TOOLS, Finding, Level, as_json, as_text, examine, faults
from lb_adapter.doctor.facts import Clocks, Feature, Filter, Host, Link, Plan, Ports, Queues, Trial, Trials

WELL = Host(
    root=True,
    kernel="6.1.0-18-amd64",
    cpus=4,
    needed=144_777_216,
    available=3_000_000_000,
    jit="1",
    bpffs="/sys/fs/bpf",
    tools=dict.fromkeys((*TOOLS, *TESTBED), "6.1"),
    clocks=Clocks("tsc", 250, 0.004, True),
    trials=Trials(*(Trial("does") for _ in range(4))),
)
ON, OFF, NEVER = Feature(True), Feature(False), Feature(False, fixed=True)
CARD = {"rxvlan": ON, "txvlan": ON, "rx-vlan-filter": OFF}
VIRTUAL = dict.fromkeys(CARD, NEVER)
OUTER = Link("eth2", True, True, 1500, gro=True, vlan=CARD, queues=Queues(4, 8))
INNER = Link("eth1", True, True, 1500, gro=True, vlan=VIRTUAL)
EBPF, AF_PACKET, PF_RING = Plan(), Plan("af_packet"), Plan("pf_ring")
OK, FAULT = Level.OK, Level.FAULT


def clocks(source: str = "tsc", hz: int = 250, tick: float = 0.004, synchronised: bool = True) -> Host:
    return replace(WELL, clocks=Clocks(source, hz, tick, synchronised))


def without(*tools: str) -> Host:
    return replace(WELL, tools={tool: "6.1" for tool in WELL.tools if tool not in tools})


def refused(trial: str, text: str, *, by_kernel: bool = False) -> Host:
    return replace(WELL, trials=replace(WELL.trials, **{trial: Trial(refused=text, by_kernel=by_kernel)}))


def ill(findings: list[Finding]) -> list[str]:
    """In words, all that is not well."""
    return [f"{it.level} {it.check} | {it.found} | {it.fix}" for it in findings if it.level is not OK]


def test_a_host_that_is_well_is_told_with_its_values() -> None:
    findings = examine(WELL, Ports((OUTER, INNER)), EBPF)
    assert ill(findings) == []
    assert not any(item.fix for item in findings)
    assert {item.check: item.found for item in findings} == {
        "kernel": "6.1.0-18-amd64",
        "ebpf": "does",
        "clsact": "does",
        "af_packet": "does",
        "pf_ring": "does",
        "jit": "BPF programs are compiled",
        "bpffs": "mounted at /sys/fs/bpf",
        "memory": "--sessions 1000000 take 144.8 MB of 3.0 GB",
        "cpus": "4",
        "clock": "tsc",
        "tick": "CONFIG_HZ=250",
        "time": "synchronised",
        "tools": "ip 6.1, tc 6.1, ethtool 6.1",
        "testbed": "ovs-vswitchd 6.1, mnexec 6.1",
        "ports": "eth2 MTU 1500, eth1 MTU 1500",
        "eth2 link": "up, with a carrier",
        "eth2 filter": "none",
        "eth2 offloads": "gro on, lro off",
        "eth2 rxvlan": "on",
        "eth2 txvlan": "on",
        "eth2 rx-vlan-filter": "off",
        "eth2 queues": "4 of 8, for 4 CPUs",
        "eth2 use": "nobody's",
        "eth1 link": "up, with a carrier",
        "eth1 filter": "none",
        "eth1 offloads": "gro on, lro off",
        "eth1 rxvlan": "off, which is fixed",
        "eth1 txvlan": "off, which is fixed",
        "eth1 rx-vlan-filter": "off, which is fixed",
        "eth1 use": "nobody's",
    }


HOSTS: dict[str, tuple[Host, Plan]] = {
    "fault kernel | 5.10.0-28-amd64 is too old for --data-plane ebpf | boot Linux 5.15 or newer": (
        replace(WELL, kernel="5.10.0-28-amd64"),
        EBPF,
    ),
    "fault kernel | 4.19.0 is too old for --data-plane af_packet | boot Linux 4.20 or newer": (
        replace(WELL, kernel="4.19.0"),
        AF_PACKET,
    ),
    "fault ebpf | load splice.bpf.o: Operation not permitted (...) | "
    "give it CAP_BPF, boot a kernel with BPF and its BTF, or run it with --data-plane af_packet": (
        refused("ebpf", "load splice.bpf.o: Operation not permitted (...)", by_kernel=True),
        EBPF,
    ),
    "fault ebpf | libbpf.so.1 is missing | apt install libbpf1": (
        refused("ebpf", "libbpf.so.1 is missing: apt install libbpf1"),
        EBPF,
    ),
    "warning ebpf | libbpf.so.1 is missing | apt install libbpf1": (
        refused("ebpf", "libbpf.so.1 is missing: apt install libbpf1"),
        AF_PACKET,
    ),
    "fault clsact | clsact on interface 1: No such file or directory | "
    "modprobe sch_ingress cls_bpf, or run it with --data-plane af_packet": (
        refused("clsact", "clsact on interface 1: No such file or directory", by_kernel=True),
        EBPF,
    ),
    "fault af_packet | AF_PACKET sockets are refused (Permission denied) | run as root": (
        refused("af_packet", "AF_PACKET sockets are refused (Permission denied): run as root"),
        AF_PACKET,
    ),
    "warning af_packet | AF_PACKET sockets are refused (Permission denied) | run as root": (
        refused("af_packet", "AF_PACKET sockets are refused (Permission denied): run as root"),
        EBPF,
    ),
    "fault pf_ring | PF_RING's kernel module is not loaded | `modprobe pf_ring`": (
        refused("pf_ring", "PF_RING's kernel module is not loaded: `modprobe pf_ring`"),
        PF_RING,
    ),
    "warning jit | BPF programs are interpreted | sysctl -w net.core.bpf_jit_enable=1": (
        replace(WELL, jit="0"),
        EBPF,
    ),
    "warning bpffs | not mounted: --pin needs it | mount -t bpf bpf /sys/fs/bpf": (
        replace(WELL, bpffs=""),
        EBPF,
    ),
    "skipped bpffs | not mounted: --pin needs it | mount -t bpf bpf /sys/fs/bpf": (
        replace(WELL, bpffs=""),
        AF_PACKET,
    ),
    "warning bpffs | this kernel has none: --pin can't be used, and a load balancer that stops forgets its "
    "sessions | boot a kernel with CONFIG_BPF_SYSCALL": (
        replace(WELL, bpffs=None),
        EBPF,
    ),
    "fault memory | --sessions 1000000 take 144.8 MB of 72.4 MB | "
    "free some, or run it with --sessions 500000 or less": (
        replace(WELL, available=72_388_608),
        EBPF,
    ),
    "warning cpus | 1, which packets and daemon share: a walk over all sessions delays both | use 2": (
        replace(WELL, cpus=1),
        EBPF,
    ),
    "warning clock | hpet is slow to read | cat /sys/devices/system/clocksource/clocksource0/"
    "available_clocksource, and boot with clocksource=tsc or another one of these": (
        clocks(source="hpet"),
        EBPF,
    ),
    "warning tick | CONFIG_HZ is not told here: BPF programs read a clock for each packet | "
    "put the kernel's configuration where it is looked for: /boot/config-$(uname -r)": (
        clocks(hz=0),
        EBPF,
    ),
    "fault tick | the kernel's configuration says CONFIG_HZ=250, but the clock has 1000 ticks a second: "
    "timeouts would be wrong | remove /boot/config-$(uname -r): it is of another kernel": (
        clocks(tick=0.001),
        EBPF,
    ),
    "warning time | not synchronised: packets need no wall time, but journals and logs of hosts are "
    "compared by it | apt install systemd-timesyncd, or chrony": (
        clocks(synchronised=False),
        EBPF,
    ),
    "warning tools | no ip, tc, ethtool on the PATH | apt install iproute2 ethtool": (
        without("ip", "tc", "ethtool"),
        EBPF,
    ),
    "skipped testbed | no mnexec, which only topologies and experiments need | ": (
        without("mnexec"),
        EBPF,
    ),
}


@pytest.mark.parametrize("text", HOSTS)
def test_what_a_host_lacks_is_told_with_the_fix(text: str) -> None:
    host, plan = HOSTS[text]
    assert ill(examine(host, None, plan)) == [text]


LINKS: dict[str, tuple[Link, Plan]] = {
    "warning eth2 link | down: its carrier can't be told | ip link set dev eth2 up, and look again": (
        replace(OUTER, up=False, carrier=False),
        EBPF,
    ),
    "fault eth2 link | up, without a carrier | plug its cable in, or take its other end up": (
        replace(OUTER, carrier=False),
        EBPF,
    ),
    "fault eth2 filter | eth2 has a tc filter of somebody else's, 'drop', where ours goes | "
    "`tc filter delete dev eth2 ingress` removes it": (
        replace(
            OUTER,
            refused="eth2 has a tc filter of somebody else's, 'drop', where ours goes: "
            "`tc filter delete dev eth2 ingress` removes it",
        ),
        EBPF,
    ),
    "warning eth2 filter | a filter (u32, pref 49152) comes after ours, and would see no frame any more | "
    "tc filter delete dev eth2 ingress pref 49152": (
        replace(OUTER, ours=True, later=(Filter("u32", 49152),)),
        EBPF,
    ),
    "warning eth2 filter | an XDP program sees each frame first, and may keep it | "
    "ip link set dev eth2 xdp off, unless it passes all on": (
        replace(OUTER, xdp=True),
        EBPF,
    ),
    "warning eth2 offloads | lro on: what LRO merges can't be cut again as it came | "
    "ethtool -K eth2 lro off": (
        replace(OUTER, lro=True),
        EBPF,
    ),
    "fault eth2 offloads | gro, lro on: PF_RING can't send what is merged | "
    "ethtool -K eth2 gro off lro off": (
        replace(OUTER, lro=True),
        PF_RING,
    ),
    "warning eth2 rxvlan | off: each tag is copied out of its frame | ethtool -K eth2 rxvlan on": (
        replace(OUTER, vlan=CARD | {"rxvlan": OFF}),
        EBPF,
    ),
    "warning eth2 txvlan | off: each tag is copied into its frame | ethtool -K eth2 txvlan on": (
        replace(OUTER, vlan=CARD | {"txvlan": OFF}),
        EBPF,
    ),
    "warning eth2 rx-vlan-filter | on: the card drops tags of which no VLAN device knows | "
    "ethtool -K eth2 rx-vlan-filter off": (
        replace(OUTER, vlan=CARD | {"rx-vlan-filter": ON}),
        EBPF,
    ),
    "skipped eth2 rx-vlan-filter | on, which is fixed: whether promiscuous mode, which a port is in, "
    "ends it, depends on its driver | "
    "have tagged frames sent to it: tcpdump -ei eth2 vlan shows them, or take another card": (
        replace(OUTER, vlan=CARD | {"rx-vlan-filter": Feature(True, fixed=True)}),
        EBPF,
    ),
    "warning eth2 queues | 1 of 8, for 4 CPUs | ethtool -L eth2 combined 4": (
        replace(OUTER, queues=Queues(1, 8)),
        EBPF,
    ),
    "warning eth2 queues | 2 of 3, for 4 CPUs | ethtool -L eth2 rx 3": (
        replace(OUTER, queues=Queues(2, 3, "rx")),
        EBPF,
    ),
    "warning eth2 use | has 192.0.2.7/24: the host hears nothing there while it is a port | "
    "if you came that way, take another one; else ip address flush dev eth2": (
        replace(OUTER, addresses=("192.0.2.7/24",)),
        EBPF,
    ),
    "warning eth2 use | a port of br0: the host hears nothing there while it is a port | "
    "ip link set dev eth2 nomaster": (
        replace(OUTER, bridge="br0"),
        EBPF,
    ),
}


@pytest.mark.parametrize("text", LINKS)
def test_what_an_interface_lacks_is_told_with_the_fix(text: str) -> None:
    link, plan = LINKS[text]
    assert ill(examine(WELL, Ports((link, replace(INNER, gro=False))), plan)) == [text]


def test_interfaces_that_are_refused_are_told_in_the_words_of_the_refusal() -> None:
    ports = Ports((), "there is no interface 'eth9' here: `ip link` lists them")
    text = "fault ports | there is no interface 'eth9' here | `ip link` lists them"
    assert ill(examine(WELL, ports, EBPF)) == [text]


def test_without_root_it_is_said_what_was_skipped() -> None:
    findings = examine(replace(WELL, root=False, jit="", trials=Trials()), Ports((OUTER,)), EBPF)
    skipped = ("ebpf", "clsact", "af_packet", "pf_ring", "jit", "eth2 filter")
    assert ill(findings) == [f"skipped {check} | needs root | sudo catenary doctor" for check in skipped]
    assert faults(findings) == 0


def test_a_trial_that_was_not_made_says_why() -> None:
    host = replace(WELL, trials=replace(WELL.trials, pf_ring=Trial(skipped="libpfring.so is not installed")))
    assert ill(examine(host, None, EBPF)) == ["skipped pf_ring | libpfring.so is not installed | "]


def test_a_kernel_that_shows_no_sysctl_of_the_jit_to_root_is_not_asked() -> None:
    assert "jit" not in {item.check for item in examine(replace(WELL, jit=""), None, EBPF)}


@pytest.mark.parametrize(
    "options, text",
    [
        ({"outer": "eth2"}, "--outer and --inner go together: name both interfaces"),
        ({"sessions": 10}, "session table of 10 is out of bounds: use 1024..16000000"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        command.doctor(**options)
    assert refusal.value.detail == text


def test_the_report() -> None:
    findings = [Finding("kernel", OK, "6.1.0"), Finding("eth2 link", FAULT, "down", "ip link set eth2 up")]
    assert as_text(findings) == [
        "ok       kernel     6.1.0",
        "fault    eth2 link  down",
        "                    -> ip link set eth2 up",
        "1 fault, 0 warnings",
    ]
    assert as_json(findings) == {
        "faults": 1,
        "checks": [
            {"check": "kernel", "level": "ok", "found": "6.1.0", "fix": ""},
            {"check": "eth2 link", "level": "fault", "found": "down", "fix": "ip link set eth2 up"},
        ],
    }
