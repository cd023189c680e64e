"""What there is to be read of a host: its kernel, memory, clocks and tools. Nothing is changed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from catenary.libbpf_abi import tick_rate
from lb_adapter import abi
from lb_adapter.dataplane.native import MAX_THREADS
from lb_adapter.dataplane.segment import library
from lb_adapter.doctor import trials
from lb_adapter.doctor.facts import Clocks, Host, Plan, Trials

_MONOTONIC_COARSE = 6
_TIME_ERROR = 5  # of adjtimex(2): not synchronised
_TIMEX_ROOM = 512  # more than any struct timex has; all zero, it only asks
_HASH_ELEMENT, _HASH_BUCKET, _SMALL_KEY = 48, 16, 16
"""Bytes of the kernel's own beside key and value of an entry, of a bucket, and of an IPv4 session's key."""
_VERSION_S = 5.0


def look(plan: Plan, tools: Iterable[str]) -> Host:
    """What is told without root too, and with root the trials."""
    root = os.geteuid() == 0
    return Host(
        root=root,
        kernel=os.uname().release,
        cpus=_cpus(),
        needed=_needed(plan),
        available=_available(),
        jit=_read(Path("/proc/sys/net/core/bpf_jit_enable")),
        bpffs=_bpffs(),
        tools={tool: version(path) for tool in tools if (path := shutil.which(tool))},
        clocks=_clocks(),
        trials=trials.run(plan) if root else Trials(),
    )


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _read(path: Path) -> str:
    """Empty where it is not there, or not for us."""
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _needed(plan: Plan) -> int:
    """Of eBPF the table of IPv4 sessions, allocated at the start; others take what they need later."""
    if plan.data_plane != "ebpf":
        threads = 1 if plan.data_plane == "pf_ring" else min(_cpus(), MAX_THREADS)
        return int(library().segment_bytes(plan.sessions, threads))
    buckets = 1 << (plan.sessions - 1).bit_length()
    entry = _HASH_ELEMENT + _SMALL_KEY + int(abi.ffi.sizeof("struct pin"))
    return plan.sessions * entry + buckets * _HASH_BUCKET


def _available() -> int:
    """Bytes, within the limit of the control group, which BPF's tables count for too."""
    found = re.search(r"^MemAvailable: +(\d+) kB$", _read(Path("/proc/meminfo")), re.MULTILINE)
    available = int(found[1]) * 1024 if found else 0
    group = re.search(r"^0::(.*)$", _read(Path("/proc/self/cgroup")), re.MULTILINE)
    folder = Path("/sys/fs/cgroup") / (group[1].lstrip("/") if group else "")
    limit, used = _read(folder / "memory.max"), _read(folder / "memory.current")
    return min(available, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else available


def _bpffs() -> str | None:
    mounts = (line.split() for line in _read(Path("/proc/self/mountinfo")).splitlines())
    places = [words[4] for words in mounts if words[words.index("-") + 1] == "bpf"]
    if places:
        return places[0]
    return "" if re.search(r"\bbpf$", _read(Path("/proc/filesystems")), re.MULTILINE) else None


def _clocks() -> Clocks:
    return Clocks(
        _read(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")) or "unknown",
        tick_rate(),
        time.clock_getres(_MONOTONIC_COARSE),
        ctypes.CDLL(None).ntp_adjtime(ctypes.create_string_buffer(_TIMEX_ROOM)) != _TIME_ERROR,
    )


def version(path: str, option: str | None = None) -> str:
    """The first number with a dot that a program says of itself, asked by `option`; empty if it says none."""
    option = option or ("-V" if Path(path).name in ("ip", "tc") else "--version")
    with suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run(
            [path, option], capture_output=True, text=True, timeout=_VERSION_S, stdin=subprocess.DEVNULL
        )
        found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        return found[0] if found else ""
    return ""
