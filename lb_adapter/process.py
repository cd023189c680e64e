"""A load balancer's process: data plane, daemon and REST service, put together and taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from catenary import capabilities
from catenary.errors import Conflict
from catenary.listen import Listen
from catenary.part_clients import BalancerClient
from catenary.service import run, server
from catenary.token import read_token
from lb_adapter import selftest
from lb_adapter.dataplane import ports, worker
from lb_adapter.dataplane.base import DataPlane, DataPlaneName, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.lock import hold
from lb_adapter.master import Master
from lb_adapter.peering import PATIENCE
from lb_adapter.rest import build
from lb_adapter.slave import Slave

RIGHTS: Mapping[DataPlaneName, tuple[str, ...]] = {
    "ebpf": ("CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW"),
    "af_packet": ("CAP_NET_ADMIN", "CAP_NET_RAW"),
    "pf_ring": ("CAP_NET_ADMIN", "CAP_NET_RAW"),
}
"""What a daemon keeps once it is set up: for tables of the kernel, which each change of the chain set makes
anew; to give the interfaces back; for probes, captures, and the sockets of a worker that died."""


def serve(
    config: SpliceConfig,
    segment: str,
    listen: Listen,
    *,
    peer: tuple[str, Path | None, Path | None] | None,
    data_plane: DataPlaneName,
    threads: int | None,
    pin: Path | None,
    keep: bool,
    sessions: int,
    slow_start: float,
) -> None:
    """Attach and serve until SIGTERM. `peer` is a master's slave: its URL, token file and CA.

    With `pin` (ebpf) or `keep` (the others) the data plane goes on when this ends; else the interfaces are
    given back.
    """
    callers = listen.callers()
    ports.check(*map(worker.device_interface, (config.outer, config.inner)))
    with hold(config.outer, config.inner), listen.bind() as rest_socket:
        plane: DataPlane
        if data_plane == "ebpf":
            _refuse_worker(config)
            if pin is not None:  # it may take over sessions that live
                selftest.check_bpf()
            plane = EbpfDataPlane(pin, pins=sessions)
        else:
            selftest.check_worker(data_plane)
            plane = NativeDataPlane(data_plane, pins=sessions, threads=threads)
        daemon: Master | Slave
        if peer is not None:
            url, token_file, ca = peer
            slave = BalancerClient(
                url,
                token=read_token(token_file),
                ca=ca or listen.tls_ca,
                identity=listen.identity,
                timeout=PATIENCE,
                what="slave",
            )
            daemon = Master(plane, config, segment, slave, slow_start=slow_start)
        else:
            daemon = Slave(plane, config, segment)
        daemon.start(partial(capabilities.keep, *RIGHTS[data_plane]))
        try:
            run(server(build(daemon, callers), listen), [rest_socket], idle=daemon.idle)
        finally:
            daemon.stop(detach=pin is None and not keep)


def _refuse_worker(config: SpliceConfig) -> None:
    """A worker that a user-space data plane left on these ports would send every frame a second time."""
    found = worker.find(config.outer, config.inner)
    if found is not None:
        outer, inner = config.outer, config.inner
        raise Conflict(
            f"worker {found[0].pid} splices {outer} and {inner}: choose its --data-plane, "
            f"or `catenary lb detach --outer {outer} --inner {inner}` first"
        )
