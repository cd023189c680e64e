"""The data plane of a process that starts, made while Python loads the rest of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from catenary.errors import Conflict
from lb_adapter.dataplane import ports, worker
from lb_adapter.dataplane.base import DataPlane, DataPlaneName, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.lock import hold


@contextmanager
def opening(
    config: SpliceConfig, data_plane: DataPlaneName, *, pin: Path | None, threads: int | None, sessions: int
) -> Iterator[Callable[[], DataPlane]]:
    """Gives what gives the data plane once it is made, or raises why it can't be; the interfaces are ours.

    The kernel checks the program for as long as Python imports the REST service, and every second of a
    master's start is one in which new sessions wait (`resync_1m_s` of docs/performance.md). What the check
    does without is imported after it has begun.
    """
    ports.check(*map(worker.device_interface, (config.outer, config.inner)))
    with hold(config.outer, config.inner), ThreadPoolExecutor(1, "opening") as pool:
        make = partial(_ebpf, config, pin) if data_plane == "ebpf" else partial(_native, data_plane, threads)
        made = pool.submit(make, sessions)
        import pyroute2  # noqa: F401 - the ports are taken with it, once the kernel has checked the program

        def plane() -> DataPlane:
            pool.shutdown()  # a thread that is left would keep the rights that the daemon gives up
            return made.result()

        yield plane


def _ebpf(config: SpliceConfig, pin: Path | None, sessions: int) -> DataPlane:
    _refuse_worker(config)
    if pin is not None:  # it may take over sessions that live
        from lb_adapter import selftest

        selftest.check_bpf()
    return EbpfDataPlane(pin, pins=sessions)


def _native(name: DataPlaneName, threads: int | None, sessions: int) -> DataPlane:
    assert name != "ebpf"
    from lb_adapter import selftest
    from lb_adapter.dataplane.native import NativeDataPlane

    selftest.check_worker(name)
    return NativeDataPlane(name, pins=sessions, threads=threads)


def _refuse_worker(config: SpliceConfig) -> None:
    """A worker that a user-space data plane left on these ports would send every frame a second time."""
    found = worker.find(config.outer, config.inner)
    if found is not None:
        outer, inner = config.outer, config.inner
        raise Conflict(
            f"worker {found[0].pid} splices {outer} and {inner}: choose its --data-plane, "
            f"or `catenary lb detach --outer {outer} --inner {inner}` first"
        )
