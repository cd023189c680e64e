"""Canaries: chains with NFs of a new version, which get so many percent of new sessions. Pure.

Shares are kept by weights: those of the other chains change, and so does what a canary must weigh.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from catenary.chain import WEIGHT_DEFAULT, WEIGHT_MAX
from catenary.errors import Conflict
from mgmt_system import admission
from mgmt_system.records import ChainRecord


def kept(name: str, records: Collection[ChainRecord]) -> ChainRecord:
    """The record of a canary with the weight that its share needs; raises `NotFound` or `Conflict`.

    Where all canaries get a share of x, and the others weigh w in all, it weighs its share of w / (1 - x).
    """
    record = _canary(admission.find(name, records))
    serving = [it for it in records if _takes(it) and it.segment == record.segment]
    shares = sum(it.canary or 0 for it in serving)
    others = sum(it.chain.weight for it in serving if it.canary is None)
    if not others or shares >= 100 or record.canary is None:
        return record  # nobody to share with: it gets all that there is
    weight = round(record.canary * others / (100 - shares))
    return replace(record, chain=replace(record.chain, weight=min(max(weight, 1), WEIGHT_MAX)))


def due(records: Iterable[ChainRecord]) -> list[str]:
    """The canaries of a segment whose weight is not what their share needs."""
    records = list(records)
    canaries = [it for it in records if _takes(it) and it.canary is not None]
    return [it.name for it in canaries if kept(it.name, records) != it]


def promoted(name: str, records: Collection[ChainRecord]) -> ChainRecord:
    """The record of a canary that is a chain like the others from now on, with their weight.

    Raises `NotFound` (unknown) or `Conflict` (no canary; not active, or cordoned).
    """
    record = _canary(admission.find(name, records))
    if not _takes(record):
        state = "cordoned" if record.uncordoned is not None else record.state
        raise Conflict(f"canary {name!r} is {state}: only one that takes sessions can be promoted")
    fellows = [it for it in records if _takes(it) and it.segment == record.segment and it.canary is None]
    weight = max((it.chain.weight for it in fellows), default=WEIGHT_DEFAULT)
    return replace(record, chain=replace(record.chain, weight=weight), canary=None)


def _takes(record: ChainRecord) -> bool:
    return record.serving and record.chain.weight > 0 and not record.chain.bypass


def _canary(record: ChainRecord) -> ChainRecord:
    if record.canary is None:
        raise Conflict(f"chain {record.name!r} is no canary: start one with catenary canary start")
    return record
