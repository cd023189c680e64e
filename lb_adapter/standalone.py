"""A data plane without its daemon: what a crash left is adopted and shown, or taken away."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from catenary.errors import InvalidValue, NotFound
from lb_adapter import selftest
from lb_adapter.balancer import ChainTable
from lb_adapter.dataplane import bpffs, ebpf, worker
from lb_adapter.dataplane.base import Load, SpliceConfig
from lb_adapter.dataplane.ebpf import EbpfDataPlane
from lb_adapter.dataplane.native import NativeDataPlane
from lb_adapter.dataplane.ports import interface_index
from lb_adapter.lock import check_no_daemon

Ports = tuple[str, str]
"""Names of the outer and the inner interface."""


@dataclass(frozen=True)
class Adopted:
    """A data plane that carries packets; `loads` by slot."""

    name: str
    config: SpliceConfig
    capacity: int
    table: ChainTable
    loads: dict[int, Load]


def attach(pin: Path | None, ports: Ports | None) -> Adopted:
    """Put this release's programs over the tables pinned in `pin`, or find the worker on `ports`.

    `ports` beside `pin` are for interfaces that were made anew meanwhile. `NotFound` if there is nothing to
    adopt, `Conflict` if a daemon runs there.
    """
    if pin is not None:
        return _attach_pinned(pin, ports)
    if ports is None:
        raise InvalidValue("say what to adopt: --pin DIR (ebpf), or --outer and --inner (af_packet, pf_ring)")
    check_no_daemon(*ports)
    plane = NativeDataPlane.adopted(*ports)
    if plane is None:
        raise NotFound(f"no worker splices {ports[0]} and {ports[1]}: `catenary lb run` starts one")
    try:
        config = plane.adopted_config()
        assert config is not None, "a worker starts on what is configured"
        return Adopted(plane.name, config, plane.capacity, plane.adopt(), plane.walk())
    finally:
        plane.close()


def _attach_pinned(pin: Path, ports: Ports | None) -> Adopted:
    size = bpffs.pinned_size(pin)
    if size is None:
        raise NotFound(f"no load balancer has pinned anything in {pin}: `catenary lb run --pin {pin}` does")
    selftest.check_bpf()
    plane = EbpfDataPlane(pin, pins=size)
    try:
        config = plane.adopted_config(ports)
        if config is None:
            raise NotFound(f"the load balancer of {pin} was never configured: `catenary lb run --pin {pin}`")
        if "" in (config.outer, config.inner):
            raise InvalidValue(f"an interface of {pin} is gone: name both with --outer and --inner")
        check_no_daemon(config.outer, config.inner)
        table = plane.adopt()
        plane.configure(config)
        plane.attach()
        return Adopted(plane.name, config, plane.capacity, table, plane.walk())
    finally:
        plane.close()


def detach(pin: Path | None, ports: Ports | None) -> list[str]:
    """Take away what carries packets, give the interfaces back, unpin; a line for each thing done.

    `NotFound` if there was nothing, `Conflict` if a daemon runs there.
    """
    if pin is None and ports is None:
        raise InvalidValue("say what to detach: --outer and --inner, or --pin DIR, or all three")
    done: list[str] = []
    notes = ebpf.pinned_notes(pin) if pin is not None else {}
    names = list(ports or notes)
    if len(names) == 2:
        check_no_daemon(names[0], names[1])
        done += _stop_worker(names[0], names[1])
    done += [f"{name} is given back" for name in names if ebpf.release(name, notes.get(name))]
    if pin is not None and bpffs.unpin(pin):
        done.append(f"{pin} is unpinned, its sessions are forgotten")
    if not done:
        where = f"on {' and '.join(names)}" if names else f"pinned in {pin}"
        raise NotFound(f"no load balancer's data plane is {where}")
    return done


def _stop_worker(outer: str, inner: str) -> list[str]:
    for name in (outer, inner):
        interface_index(worker.device_interface(name))
    plane = NativeDataPlane.adopted(outer, inner)
    if plane is None:
        return []
    pid = plane.pid
    plane.detach()
    plane.close()
    return [f"worker {pid} is stopped, its sessions are forgotten", f"{outer} and {inner} are given back"]


def as_json(adopted: Adopted) -> dict[str, Any]:
    """What `catenary lb attach --json` prints."""
    config = adopted.config
    return {
        "data_plane": adopted.name,
        "role": config.role,
        "outer": config.outer,
        "inner": config.inner,
        "ask_id": config.ask_id,
        "affinity": config.affinity,
        "policy": config.policy,
        "timeouts": asdict(config.timeouts),
        "capacity": adopted.capacity,
        "epoch": adopted.table.epoch,
        "pairs": [
            {
                "forward": pair.tags.forward,
                "reverse": pair.tags.reverse,
                "state": str(pair.state),
                "weight": pair.weight,
                "sessions": adopted.loads.get(pair.slot, Load()).live,
            }
            for pair in adopted.table.pairs
        ],
    }


def as_text(adopted: Adopted) -> list[str]:
    """The same for people."""
    facts = as_json(adopted)
    first = (
        f"{facts['role']} on {facts['outer']} (outer) and {facts['inner']} (inner) carries packets: "
        f"data plane {facts['data_plane']}, epoch {facts['epoch']}, {len(facts['pairs'])} chains"
    )
    lines = [first]
    for pair in facts["pairs"]:
        tags = f"{pair['forward']},{pair['reverse']}"
        lines.append(f"  {tags:11} {pair['state']:8} weight {pair['weight']:<4} {pair['sessions']} sessions")
    return lines
