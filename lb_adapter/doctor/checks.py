"""Facts in, findings out: what is well on a host, what is not, and what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from catenary import sizes
from lb_adapter.dataplane.base import DataPlaneName
from lb_adapter.doctor.facts import NEEDS_ROOT, Clocks, Feature, Host, Link, Plan, Ports, Trial, Trials

OLDEST: dict[DataPlaneName, tuple[int, int]] = {"ebpf": (5, 15), "af_packet": (4, 20), "pf_ring": (4, 20)}
"""The Linux that a data plane needs."""
TOOLS = {"ip": "iproute2", "tc": "iproute2", "ethtool": "ethtool"}
"""What the fixes that are told here are typed into, and the Debian package of each."""
TESTBED = ("ovs-vswitchd", "mnexec")
VLAN = {
    "rxvlan": (True, "each tag is copied out of its frame"),
    "txvlan": (True, "each tag is copied into its frame"),
    "rx-vlan-filter": (False, "the card drops tags of which no VLAN device knows"),
}
"""What a card shall do about tags, by the name that `ethtool -K` takes, and what it means if it doesn't."""
_SLOW_CLOCKS = ("hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies")


class Level(StrEnum):
    """A fault keeps a load balancer from its work; a warning makes it slow, or less than it could be."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What one check found, and what to do if that is not well."""

    check: str
    level: Level
    found: str
    fix: str = ""


def examine(host: Host, ports: Ports | None, plan: Plan) -> list[Finding]:
    """All findings, in the order in which they are told."""
    findings: list[Finding | None] = [
        _kernel(host.kernel, plan),
        *_trials(host.trials, plan),
        _jit(host),
        _bpffs(host.bpffs, plan),
        _memory(host, plan),
        _cpus(host.cpus),
        _clock(host.clocks),
        _tick(host.clocks),
        _time(host.clocks),
        _tools(host),
        _testbed(host),
    ]
    if ports is not None:
        findings.append(_ports(ports))
        for link in ports.links:
            findings += _link(link, host, plan)
    return [finding for finding in findings if finding is not None]


def faults(findings: Sequence[Finding]) -> int:
    return sum(finding.level is Level.FAULT for finding in findings)


def _kernel(release: str, plan: Plan) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", release)
    oldest = OLDEST[plan.data_plane]
    if found is not None and (int(found[1]), int(found[2])) >= oldest:
        return Finding("kernel", Level.OK, release)
    return Finding(
        "kernel",
        Level.FAULT,
        f"{release} is too old for --data-plane {plan.data_plane}",
        f"boot Linux {oldest[0]}.{oldest[1]} or newer",
    )


def _trials(trials: Trials, plan: Plan) -> Iterator[Finding]:
    other = "or run it with --data-plane af_packet"
    yield _trial("ebpf", trials.ebpf, plan, f"give it CAP_BPF, boot a kernel with BPF and its BTF, {other}")
    yield _trial("clsact", trials.clsact, plan, f"modprobe sch_ingress cls_bpf, {other}")
    yield _trial("af_packet", trials.af_packet, plan)
    yield _trial("pf_ring", trials.pf_ring, plan)


def _trial(check: str, trial: Trial, plan: Plan, fix: str = "") -> Finding:
    """What fails is a fault of the data plane that was asked for only."""
    if trial.skipped:
        return _told(check, Level.SKIPPED, trial.skipped)
    if not trial.refused:
        return Finding(check, Level.OK, trial.found)
    wanted = {"clsact": "ebpf"}.get(check, check) == plan.data_plane
    level = Level.FAULT if wanted else Level.WARNING
    if trial.by_kernel:
        return Finding(check, level, trial.refused, fix)
    return _told(check, level, trial.refused)


def _told(check: str, level: Level, text: str) -> Finding:
    """A refusal of Catenary's own: they say what is wrong, and after a colon what to do."""
    found, colon, fix = text.rpartition(": ")
    return Finding(check, level, found, fix) if colon else Finding(check, level, text)


def _jit(host: Host) -> Finding | None:
    """It is told to root only, and in the first network namespace only."""
    if not host.jit:
        return None if host.root else _told("jit", Level.SKIPPED, NEEDS_ROOT)
    if host.jit == "0":
        fix = "sysctl -w net.core.bpf_jit_enable=1"
        return Finding("jit", Level.WARNING, "BPF programs are interpreted", fix)
    return Finding("jit", Level.OK, "BPF programs are compiled")


def _bpffs(place: str | None, plan: Plan) -> Finding:
    if place:
        return Finding("bpffs", Level.OK, f"mounted at {place}")
    level = Level.WARNING if plan.data_plane == "ebpf" else Level.SKIPPED
    if place is None:
        return Finding(
            "bpffs",
            level,
            "this kernel has none: --pin can't be used, and a load balancer that stops forgets its sessions",
            "boot a kernel with CONFIG_BPF_SYSCALL",
        )
    return Finding("bpffs", level, "not mounted: --pin needs it", "mount -t bpf bpf /sys/fs/bpf")


def _memory(host: Host, plan: Plan) -> Finding:
    needed, available = sizes.text(host.needed), sizes.text(host.available)
    found = f"--sessions {plan.sessions} take {needed} of {available}"
    if host.needed <= host.available:
        return Finding("memory", Level.OK, found)
    fitting = plan.sessions * host.available // host.needed
    return Finding("memory", Level.FAULT, found, f"free some, or run it with --sessions {fitting} or less")


def _cpus(cpus: int) -> Finding:
    if cpus > 1:
        return Finding("cpus", Level.OK, str(cpus))
    return Finding(
        "cpus",
        Level.WARNING,
        "1, which packets and daemon share: a walk over all sessions delays both",
        "use 2",
    )


def _clock(clocks: Clocks) -> Finding:
    if clocks.source not in _SLOW_CLOCKS:
        return Finding("clock", Level.OK, clocks.source)
    return Finding(
        "clock",
        Level.WARNING,
        f"{clocks.source} is slow to read",
        "cat /sys/devices/system/clocksource/clocksource0/available_clocksource, and boot with "
        "clocksource=tsc or another one of these",
    )


def _tick(clocks: Clocks) -> Finding:
    """The BPF programs count ticks, and take what they are told of their length for true."""
    shown = round(1 / clocks.tick) if clocks.tick > 0 else 0
    if not clocks.hz:
        return Finding(
            "tick",
            Level.WARNING,
            "CONFIG_HZ is not told here: BPF programs read a clock for each packet",
            "put the kernel's configuration where it is looked for: /boot/config-$(uname -r)",
        )
    if clocks.hz != shown:
        return Finding(
            "tick",
            Level.FAULT,
            f"the kernel's configuration says CONFIG_HZ={clocks.hz}, but the clock has {shown} ticks a "
            "second: timeouts would be wrong",
            "remove /boot/config-$(uname -r): it is of another kernel",
        )
    return Finding("tick", Level.OK, f"CONFIG_HZ={clocks.hz}")


def _time(clocks: Clocks) -> Finding:
    if clocks.synchronised:
        return Finding("time", Level.OK, "synchronised")
    return Finding(
        "time",
        Level.WARNING,
        "not synchronised: packets need no wall time, but journals and logs of hosts are compared by it",
        "apt install systemd-timesyncd, or chrony",
    )


def _tools(host: Host) -> Finding:
    missing = [tool for tool in TOOLS if tool not in host.tools]
    if not missing:
        return Finding("tools", Level.OK, _versions(host, TOOLS))
    packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
    return Finding("tools", Level.WARNING, f"no {', '.join(missing)} on the PATH", f"apt install {packages}")


def _testbed(host: Host) -> Finding:
    missing = [tool for tool in TESTBED if tool not in host.tools]
    if not missing:
        return Finding("testbed", Level.OK, _versions(host, TESTBED))
    return Finding(
        "testbed", Level.SKIPPED, f"no {', '.join(missing)}, which only topologies and experiments need"
    )


def _versions(host: Host, tools: Sequence[str] | dict[str, str]) -> str:
    return ", ".join(f"{tool} {host.tools[tool]}".rstrip() for tool in tools)


def _ports(ports: Ports) -> Finding:
    if ports.refused:
        return _told("ports", Level.FAULT, ports.refused)
    return Finding("ports", Level.OK, ", ".join(f"{link.name} MTU {link.mtu}" for link in ports.links))


def _link(link: Link, host: Host, plan: Plan) -> Iterator[Finding | None]:
    yield _state(link)
    yield _filter(link, host, plan)
    yield _merging(link, plan)
    for name, feature in link.vlan.items():
        yield _vlan(link, name, feature)
    yield _queues(link, host.cpus)
    yield _use(link)


def _state(link: Link) -> Finding:
    check = f"{link.name} link"
    if not link.up:
        # `lb run` takes it up: so this is no fault, but nobody knows yet what is at its other end.
        fix = f"ip link set dev {link.name} up, and look again"
        return Finding(check, Level.WARNING, "down: its carrier can't be told", fix)
    if not link.carrier:
        return Finding(
            check, Level.FAULT, "up, without a carrier", "plug its cable in, or take its other end up"
        )
    return Finding(check, Level.OK, "up, with a carrier")


def _filter(link: Link, host: Host, plan: Plan) -> Finding:
    """At tc ingress, and before it."""
    check = f"{link.name} filter"
    if link.refused:
        return _told(check, Level.FAULT, link.refused)
    if link.xdp:
        return Finding(
            check,
            Level.WARNING,
            "an XDP program sees each frame first, and may keep it",
            f"ip link set dev {link.name} xdp off, unless it passes all on",
        )
    if link.later:
        kind, preference = link.later[0].kind, link.later[0].preference
        return Finding(
            check,
            Level.WARNING,
            f"a filter ({kind}, pref {preference}) comes after ours, and would see no frame any more",
            f"tc filter delete dev {link.name} ingress pref {preference}",
        )
    if not host.root:
        return _told(check, Level.SKIPPED, NEEDS_ROOT)
    return Finding(check, Level.OK, "a load balancer's" if link.ours else "none")


def _merging(link: Link, plan: Plan) -> Finding:
    """PF_RING hands over frames as they are, and one that was merged fits through no other port."""
    check, merged = f"{link.name} offloads", [name for name in ("gro", "lro") if getattr(link, name)]
    if plan.data_plane == "pf_ring" and merged:
        level, why = Level.FAULT, "PF_RING can't send what is merged"
    elif link.lro:
        level, why, merged = Level.WARNING, "what LRO merges can't be cut again as it came", ["lro"]
    else:
        return Finding(check, Level.OK, f"gro {'on' if link.gro else 'off'}, lro off")
    off = " ".join(f"{name} off" for name in merged)
    return Finding(check, level, f"{', '.join(merged)} on: {why}", f"ethtool -K {link.name} {off}")


def _vlan(link: Link, name: str, feature: Feature) -> Finding:
    """What can't be changed is no reason to complain; but a filter that stays may be one to look."""
    check, (wanted, why) = f"{link.name} {name}", VLAN[name]
    found = f"{'on' if feature.on else 'off'}{', which is fixed' if feature.fixed else ''}"
    if feature.on is wanted:
        return Finding(check, Level.OK, found)
    if not feature.fixed:
        fix = f"ethtool -K {link.name} {name} {'on' if wanted else 'off'}"
        return Finding(check, Level.WARNING, f"{found}: {why}", fix)
    if wanted:
        return Finding(check, Level.OK, found)
    return Finding(
        check,
        Level.SKIPPED,
        f"{found}: whether promiscuous mode, which a port is in, ends it, depends on its driver",
        f"have tagged frames sent to it: tcpdump -ei {link.name} vlan shows them, or take another card",
    )


def _queues(link: Link, cpus: int) -> Finding | None:
    """Each CPU carries what its queue gets. What has no queues to choose from is not told of."""
    if link.queues is None or link.queues.most < 2:
        return None
    wanted = min(cpus, link.queues.most)
    found = f"{link.queues.used} of {link.queues.most}, for {cpus} CPUs"
    if link.queues.used >= wanted:
        return Finding(f"{link.name} queues", Level.OK, found)
    fix = f"ethtool -L {link.name} {link.queues.kind} {wanted}"
    return Finding(f"{link.name} queues", Level.WARNING, found, fix)


def _use(link: Link) -> Finding:
    """A port is a bump in the wire: what the host itself has there hears nothing any more."""
    check, why = f"{link.name} use", "the host hears nothing there while it is a port"
    if link.bridge:
        return Finding(
            check, Level.WARNING, f"a port of {link.bridge}: {why}", f"ip link set dev {link.name} nomaster"
        )
    if link.addresses:
        return Finding(
            check,
            Level.WARNING,
            f"has {', '.join(link.addresses)}: {why}",
            f"if you came that way, take another one; else ip address flush dev {link.name}",
        )
    return Finding(check, Level.OK, "nobody's")


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """What `catenary doctor --json` prints."""
    return {"faults": faults(findings), "checks": [asdict(finding) for finding in findings]}


def as_text(findings: Sequence[Finding]) -> list[str]:
    """The same for people: a line for each check, and what to do below it."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:8} {finding.check:{width}}  {finding.found}")
        if finding.fix:
            lines.append(f"{'':8} {'':{width}}  -> {finding.fix}")
    counts = (
        (sum(item.level is level for item in findings), level) for level in (Level.FAULT, Level.WARNING)
    )
    return [*lines, ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for count, level in counts)]
