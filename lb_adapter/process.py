"""A load balancer's process: daemon and REST service over a data plane, put together and taken apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from catenary import capabilities
from catenary.listen import Listen
from catenary.part_clients import BalancerClient
from catenary.token import read_token
from lb_adapter.dataplane.base import DataPlane, SpliceConfig
from lb_adapter.master import Master
from lb_adapter.peering import PATIENCE
from lb_adapter.places import Peer, Places
from lb_adapter.slave import Slave
from lb_adapter.standby import SILENCE
from lb_adapter.standby_roles import MasterStandby, SlaveStandby


class Address(NamedTuple):
    """Another load balancer's REST service: its URL, the file of its token, and its CA."""

    url: str
    token_file: Path | None = None
    ca: Path | None = None


RIGHTS: Mapping[str, tuple[str, ...]] = {
    "ebpf": ("CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW"),
    "af_packet": ("CAP_NET_ADMIN", "CAP_NET_RAW"),
    "pf_ring": ("CAP_NET_ADMIN", "CAP_NET_RAW"),
}
"""What a daemon keeps once it is set up: for tables of the kernel, which each change of the chain set makes
anew; to give the interfaces back; for probes, captures, and the sockets of a worker that died."""


def serve(
    opened: Callable[[], DataPlane],
    config: SpliceConfig,
    segment: str,
    listen: Listen,
    *,
    peer: Address | None,
    peer_standby: str | None,
    standby_of: Address | None,
    stays: bool,
    slow_start: float,
) -> None:
    """Attach and serve until SIGTERM. `peer` is a master's slave, `peer_standby` that one's standby.

    `standby_of` is the one whose standby this is.

    A data plane that `stays` goes on when this ends; else the interfaces are given back.
    """
    callers = listen.callers()
    with listen.bind() as rest_socket:
        plane = opened()
        active = None if standby_of is None else _client(standby_of, listen, "active load balancer", SILENCE)
        daemon: Master | Slave
        places = None
        if peer is not None:
            slave: Peer = _client(peer, listen, "slave", PATIENCE)
            if peer_standby is not None:
                there = _client(peer._replace(url=peer_standby), listen, "slave's standby", PATIENCE)
                slave = places = Places(segment, _client(peer, listen, "slave", PATIENCE), there)
            if active is None:
                daemon = Master(plane, config, segment, slave, slow_start=slow_start)
            else:
                daemon = MasterStandby(plane, config, segment, slave, active, slow_start=slow_start)
        elif active is None:
            daemon = Slave(plane, config, segment)
        else:
            daemon = SlaveStandby(plane, config, segment, active)
        daemon.start(partial(capabilities.keep, *RIGHTS[plane.name]))
        if places is not None:
            places.start(daemon.wake)
        # Only now, while a master that lost its table copies it and waits: that began with the data plane.
        from catenary.service import run, server
        from lb_adapter.rest import build

        try:
            run(server(build(daemon, callers), listen), [rest_socket], idle=daemon.idle)
        finally:
            if places is not None:
                places.stop()
            daemon.stop(detach=not stays)


def _client(to: Address, listen: Listen, what: str, timeout: float) -> BalancerClient:
    token, ca = read_token(to.token_file), to.ca or listen.tls_ca
    return BalancerClient(to.url, token=token, ca=ca, identity=listen.identity, timeout=timeout, what=what)
