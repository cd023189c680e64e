"""`catenary lb upgrade`: another program in the place of the one that carries packets, over the same tables.

First it passes the self-test on tables of its own; then it takes over at once. A daemon may run meanwhile:
the tables are shared, and nothing is written to them here.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catenary.errors import Conflict, InvalidValue, NotFound
from lb_adapter import selftest
from lb_adapter.dataplane import bpffs, ebpf, worker
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.lock import daemon_of
from lb_adapter.selftest import Passed
from lb_adapter.standalone import Ports


@dataclass(frozen=True)
class Upgraded:
    """What was done. `before` and `after` are the programs' tags (ebpf), or the worker's process ID.

    `gap`: the seconds for which nobody carried frames; 0 where one program replaces the other at once.
    """

    data_plane: str
    program: Path
    outer: str
    inner: str
    before: dict[str, str]
    after: dict[str, str]
    gap: float
    daemon: int | None
    selftest: Passed


def upgrade(pin: Path | None, ports: Ports | None, program: Path | None = None) -> Upgraded:
    """Put `program`, or else this release's, in place; it is refused and nothing is changed if that can't be.

    `NotFound` if nothing carries packets there, `Conflict` if its tables have another layout, `InvalidValue`
    if the program fails its self-test.
    """
    if (pin is None) == (ports is None):
        raise InvalidValue(
            "say what to upgrade: --pin DIR (ebpf), or --outer and --inner (af_packet, pf_ring)"
        )
    if pin is not None:
        return _pinned(pin, program or ebpf.OBJECT)
    assert ports is not None
    return _worker(*ports, program or worker.PROGRAM)


def _pinned(pin: Path, program: Path) -> Upgraded:
    size = bpffs.pinned_size(pin)
    if size is None:
        raise NotFound(f"no load balancer has pinned anything in {pin}: `catenary lb run --pin {pin}` does")
    ebpf.check_layout(pin, program, size, whole=True)
    names = list(ebpf.pinned_notes(pin))
    if len(names) != 2:
        raise NotFound(f"an interface of {pin} is gone: `catenary lb attach --pin {pin} --outer X --inner Y`")
    passed = selftest.check_bpf(program)
    with closing(EbpfDataPlane(pin, pins=size, program=program)) as plane:
        after = {name: plane.object.program(name).tag for name in ebpf.PROGRAMS}
        if after != passed.tags:
            raise Conflict(f"{program} was changed while it was tested: try again")
        before = plane.replace(*names)
    daemon = daemon_of(*names)
    return Upgraded("ebpf", program, names[0], names[1], before, after, 0.0, daemon, passed)


def _worker(outer: str, inner: str, program: Path) -> Upgraded:
    plane = NativeDataPlane.adopted(outer, inner)
    if plane is None:
        raise NotFound(f"no worker splices {outer} and {inner}: `catenary lb run` starts one")
    with closing(plane):
        tested = _file(program)
        passed = selftest.check_worker(plane.name, program)
        if _file(program) != tested:
            raise Conflict(f"{program} was changed while it was tested: try again")
        before = str(plane.pid)
        gap = plane.upgrade(program, outer, inner)
        pids = {"worker": before}, {"worker": str(plane.pid)}
        return Upgraded(plane.name, program, outer, inner, *pids, gap, daemon_of(outer, inner), passed)


def _file(program: Path) -> tuple[int, ...] | None:
    """What differs once a file was written or replaced; None if there is none."""
    try:
        seen = program.stat()
    except FileNotFoundError:
        return None
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def as_json(done: Upgraded) -> dict[str, Any]:
    """What `catenary lb upgrade --json` prints."""
    return {
        "data_plane": done.data_plane,
        "program": str(done.program),
        "outer": done.outer,
        "inner": done.inner,
        "before": done.before,
        "after": done.after,
        "gap_s": done.gap,
        "daemon": done.daemon,
        "selftest": {"frames": done.selftest.frames, "seconds": round(done.selftest.seconds, 3)},
    }


def as_text(done: Upgraded) -> list[str]:
    """The same for people."""
    passed = done.selftest
    lines = [f"{done.program} passed its self-test: {passed.frames} frames in {passed.seconds:.2f} s"]
    lines += [f"{name}: {done.before[name]} -> {done.after[name]}" for name in done.after]
    if done.data_plane == "af_packet":
        lines.append(f"frames waited for {done.gap * 1000:.1f} ms")
    if done.data_plane == "pf_ring":
        lines.append(f"frames of {done.gap * 1000:.1f} ms were lost: a ring of PF_RING can't be handed over")
    if done.daemon is not None:
        lines.append(f"daemon {done.daemon} goes on as it is: restart it when it suits, it adopts what runs")
    return lines
