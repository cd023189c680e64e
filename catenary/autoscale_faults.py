"""What is wrong with segments that scale by themselves beyond their shape. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from catenary.chain import TagMode
from catenary.document import Fault

if TYPE_CHECKING:
    from catenary.config import ServiceConfig


def autoscale_faults(config: ServiceConfig) -> Iterator[Fault]:
    owners: dict[str, str] = {}
    for name, scale in config.autoscale.items():
        at = ("autoscale", name)
        if name not in config.segments:
            text = f"unknown segment {name!r}: there is {', '.join(config.segments) or 'none'}"
            yield Fault(at, text)
        elif scale.targets.latency is not None and config.segments[name].health is None:
            text = f"nobody probes the chains of segment {name!r}: give it a health check, or another target"
            yield Fault((*at, "targets", "latency"), text)
        for index, copy in enumerate(scale.provisioner.copies):
            for nf in copy:
                for text in _unusable(config, owners, nf):
                    yield Fault((*at, "provisioner", "copies", index), text)
                if nf in config.nfs and config.nfs[nf].tags is TagMode.STRIPPED:
                    owners[nf] = name
    for name, chain in config.chains.items():
        if chain.nfs and config.segments and config.segment_of(chain) in config.autoscale:
            text = (
                f"chain {name!r} is in a segment that scales by itself: its chains come and go with their "
                "load; leave it out, or the segment under autoscale"
            )
            yield Fault(("chains", name), text)


def _unusable(config: ServiceConfig, owners: dict[str, str], nf: str) -> Iterator[str]:
    if nf not in config.nfs:
        yield f"unknown NF {nf!r}: there is {', '.join(config.nfs) or 'none'}"
    elif nf in config.fixed:
        yield f"NF {nf!r} stands fixed at segment {config.fixed[nf]!r}: it can't be part of a chain too"
    elif nf in owners:
        yield f"NF {nf!r} is in two copies: one with tags stripped serves one chain; name another"
