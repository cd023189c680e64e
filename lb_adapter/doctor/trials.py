"""The data planes, tried for a moment: over tables of their own, on the loopback interface of a new network.

Nothing of the host is touched, and the kernel takes all of it away when the thread ends that tried it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

from pyroute2 import IPRoute

from catenary.errors import CatenaryError, InvalidValue, Unsupported
from catenary.libbpf_abi import BpfError
from lb_adapter import selftest
from lb_adapter.dataplane import ports, worker
from lb_adapter.dataplane.base import PINS_MIN
from lb_adapter.dataplane.ebpf import PROGRAMS, EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane, NativeName
from lb_adapter.doctor.facts import Plan, Trial, Trials

LOOPBACK, _LOOPBACK_INDEX = "lo", 1
_CLONE_NEWNET = 0x40000000
_LIBRARIES = ("libpfring.so", "libpfring.so.1")  # as native/pf_ring.c looks for it


def run(plan: Plan) -> Trials:
    """All of them; needs root."""
    ebpf = _tried(_decide)
    return Trials(
        ebpf,
        Trial(skipped="not tried, since the programs do not load") if ebpf.refused else _tried(_attach),
        _tried(lambda: _carry("af_packet")),
        _tried(lambda: _carry("pf_ring"))
        if plan.data_plane == "pf_ring" or _pf_ring_is_installed()
        else Trial(skipped="libpfring.so is not installed, and only --data-plane pf_ring needs it"),
    )


class _Untried(Exception):
    """There is nowhere to try it; that does not mean that it would fail."""


def _tried(trial: Callable[[], str]) -> Trial:
    try:
        return Trial(trial())
    except _Untried as reason:
        return Trial(skipped=str(reason))
    except CatenaryError as error:
        return Trial(refused=error.detail, by_kernel=isinstance(error, BpfError))


def _decide() -> str:
    try:
        frames = selftest.check_bpf().frames
    except InvalidValue as error:
        raise Unsupported(f"{error.detail}: install it anew") from error
    return f"loads, and decides {frames} frames as the oracle does"


def _attach() -> str:
    def attach() -> str:
        with closing(EbpfDataPlane(pins=PINS_MIN)) as plane:
            plane.object.program(PROGRAMS[0]).attach(_LOOPBACK_INDEX)
        return "takes a program"

    return _in_a_network_of_its_own(attach)


def _carry(name: NativeName) -> str:
    """As many threads as it would have."""

    def carry() -> str:
        with IPRoute() as ip:  # only sockets of an interface that is up can share its frames
            ip.link("set", index=_LOOPBACK_INDEX, flags=ports.UP, change=ports.UP)
        with closing(NativeDataPlane(name, pins=PINS_MIN)) as plane:
            threads = plane.segment.threads
            worker.start(name, LOOPBACK, LOOPBACK, plane.segment.fd).stop()
        return f"carries, in {threads} thread{'' if threads == 1 else 's'}"

    return _in_a_network_of_its_own(carry)


def _in_a_network_of_its_own(work: Callable[[], str]) -> str:
    """A network namespace belongs to a thread: what it attaches there is gone with it."""

    def run() -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            why = os.strerror(ctypes.get_errno())
            raise _Untried(f"no network namespace to try it in ({why}): run this with CAP_SYS_ADMIN")
        return work()

    with ThreadPoolExecutor(max_workers=1) as threads:
        return threads.submit(run).result()


def _pf_ring_is_installed() -> bool:
    for name in _LIBRARIES:
        with suppress(OSError):
            ctypes.CDLL(name)
            return True
    return False
